"""Special tokens that stand in what people write are text: they open and close no turn.

A chat template writes special tokens itself. Where a caller's own words hold the text of one, they are
replaced by numbers that nobody can foresee while the template runs, and put back afterwards; so it is
known which of the two a special token came from. Most prompts hold none, and cost one search.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Sequence
from functools import cached_property
from typing import Any

import tokenizers

#: From and to which character of a text.
Span = tuple[int, int]

_NONCE_DIGITS, _INDEX_DIGITS = 24, 5
# What stands before a piece of text that is encoded alone, so that no tokenizer takes it for a beginning.
_ANCHOR = "\n"


class SpecialTokens:
    """Those of one tokenizer. Threads may share it."""

    def __init__(self, backend: tokenizers.Tokenizer) -> None:
        self._backend = backend
        added = backend.get_added_tokens_decoder()
        self._ids = {token_id for token_id, token in added.items() if token.special}
        texts = sorted({added[token_id].content for token_id in self._ids} - {""}, key=len)
        longest_first = "|".join(map(re.escape, reversed(texts)))
        self._pattern = re.compile(longest_first) if texts else None

    def spans(self, text: str) -> list[Span]:
        """Where the text holds what looks like a special token."""
        if self._pattern is None:
            return []
        return [match.span() for match in self._pattern.finditer(text)]

    def encode(self, text: str, own: Sequence[Span], *, add_special_tokens: bool) -> list[int]:
        """The token ids of `text`, in which the characters of `own` are nothing but text.

        Raises what the tokenizer raises.
        """
        encoding = self._backend.encode(text, add_special_tokens=add_special_tokens)
        if not own:
            ids: list[int] = encoding.ids
            return ids
        found: list[int] = []
        for token_id, (start, end) in zip(encoding.ids, encoding.offsets, strict=True):
            if token_id in self._ids and any(start < e and s < end for s, e in own):
                found += self._encode_plainly(text[start:end])
            else:
                found.append(token_id)
        return found

    def _encode_plainly(self, text: str) -> list[int]:
        anchor: list[int] = self._plain.encode(_ANCHOR, add_special_tokens=False).ids
        ids: list[int] = self._plain.encode(_ANCHOR + text, add_special_tokens=False).ids
        if ids[: len(anchor)] == anchor:
            return ids[len(anchor) :]
        alone: list[int] = self._plain.encode(text, add_special_tokens=False).ids
        return alone

    @cached_property
    def _plain(self) -> tokenizers.Tokenizer:
        """The same tokenizer without an eye for special tokens."""
        plain = tokenizers.Tokenizer.from_str(self._backend.to_str())
        plain.encode_special_tokens = True
        return plain

    def new_marks(self) -> Marks:
        """For one rendering."""
        return Marks(self._pattern)


class Marks:
    """What stands for special tokens in the words of a caller while a template runs."""

    def __init__(self, pattern: re.Pattern[str] | None) -> None:
        self._pattern = pattern
        self._nonce = ""
        self._texts: list[str] = []

    def mark(self, value: Any) -> Any:
        """A JSON-like value without special tokens in its texts; itself where there are none."""
        if self._pattern is None or not self._holds_any(self._pattern, value):
            return value
        self._nonce = self._nonce or f"{secrets.randbelow(10**_NONCE_DIGITS):0{_NONCE_DIGITS}d}"
        return self._marked(self._pattern, value)

    def restore(self, text: str) -> tuple[str, list[Span]]:
        """The text with the callers' words in it, and where these look like special tokens."""
        if not self._texts:
            return text, []
        pieces = re.split(rf"{self._nonce}(\d{{{_INDEX_DIGITS}}})", text)
        spans: list[Span] = []
        length = 0
        for place, piece in enumerate(pieces):
            if place % 2:
                pieces[place] = self._texts[int(piece)]
                spans.append((length, length + len(pieces[place])))
            length += len(pieces[place])
        return "".join(pieces), spans

    def _holds_any(self, pattern: re.Pattern[str], value: Any) -> bool:
        if isinstance(value, str):
            return pattern.search(value) is not None
        if isinstance(value, dict):
            return any(self._holds_any(pattern, part) for item in value.items() for part in item)
        return isinstance(value, list | tuple) and any(
            self._holds_any(pattern, part) for part in value
        )

    def _marked(self, pattern: re.Pattern[str], value: Any) -> Any:
        if isinstance(value, str):
            return pattern.sub(self._number, value)
        if isinstance(value, dict):
            return {
                self._marked(pattern, name): self._marked(pattern, part)
                for name, part in value.items()
            }
        if isinstance(value, list | tuple):
            return [self._marked(pattern, part) for part in value]
        return value

    def _number(self, match: re.Match[str]) -> str:
        if match[0] not in self._texts:
            self._texts.append(match[0])
        return f"{self._nonce}{self._texts.index(match[0]):0{_INDEX_DIGITS}d}"
