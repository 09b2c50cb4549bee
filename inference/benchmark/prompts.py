"""Prompts of an exact number of tokens, made of real sentences, no two of them alike.

A prompt begins anywhere in one fixed text, goes on with sentences of it in any order, and is cut to
length. All follows from a key, so that two engines get the same prompts; no two prompts of a source
begin alike, so that no engine saves work by remembering.
"""

from __future__ import annotations

import hashlib
import random
import re
from collections.abc import Sequence
from pathlib import Path

from inference.tokenizer import Tokenizer

# The text of the engine's quality gate, read as data.
_TEXT_FILE = Path(__file__).resolve().parents[1] / "engine" / "quality" / "text.txt"
_SENTENCE_END = re.compile(r"(?<=[.!?])\s+")
#: So many ids at a prompt's start are like those of no other prompt.
NUM_DISTINCT = 8
_MOST_TRIES = 10_000

Prompt = list[int]


class PromptSource:
    """Makes prompts for one model. Keys must not come twice in one benchmark."""

    def __init__(self, sentences: Sequence[Sequence[int]]) -> None:
        self._sentences = sentences
        self._text = [token_id for sentence in sentences for token_id in sentence]
        self._openings: set[tuple[int, ...]] = set()

    @classmethod
    def for_model(cls, model_dir: Path) -> PromptSource:
        """Sentences in the ids of the model's tokenizer. Raises TokenizerError."""
        tokenizer = Tokenizer.load(model_dir)
        pieces = _SENTENCE_END.split(_TEXT_FILE.read_text(encoding="utf-8"))
        encoded = [tokenizer.encode_plain(f" {' '.join(piece.split())}") for piece in pieces]
        return cls([ids for ids in encoded if ids])

    def make(self, key: str, *, count: int, num_tokens: int) -> list[Prompt]:
        """`count` prompts of `num_tokens` ids each. Raises ValueError where the text is used up."""
        digest = hashlib.sha256(key.encode()).digest()
        shuffle = random.Random(int.from_bytes(digest[:8]))  # noqa: S311 - nothing secret
        return [self._make_one(shuffle, num_tokens) for _ in range(count)]

    def _make_one(self, shuffle: random.Random, num_tokens: int) -> Prompt:
        for _ in range(_MOST_TRIES):
            start = shuffle.randrange(max(1, len(self._text) - NUM_DISTINCT))
            opening = tuple(self._text[start : start + NUM_DISTINCT])
            if opening not in self._openings:
                self._openings.add(opening)
                break
        else:
            raise ValueError("the text has no beginning left that no prompt had yet")
        ids = list(opening)
        while len(ids) < num_tokens:
            ids.extend(shuffle.choice(self._sentences))
        return ids[:num_tokens]
