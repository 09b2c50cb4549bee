"""The fixed text of the quality gate, cut into pieces that are measured side by side (no torch).

The text is ours and stays as it is: figures of two days are comparable only over the same tokens.
"""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

from inference.engine.errors import LoadError
from inference.tokenizer import Tokenizer
from llamagpu.lib.error_codes import ErrorCode

TEXT_FILE = Path(__file__).with_name("text.txt")
WINDOW_LENGTH = 1024
# Half of it must hold a prompt and a token that is decoded after it.
_SHORTEST = 8


def text_windows(
    tokenizer: Tokenizer, *, length: int = WINDOW_LENGTH, num_tokens: int | None = None
) -> list[list[int]]:
    """The text's first `num_tokens` ids (None: all) as windows of at most `length` ids.

    They are as equal in length as they can be, so that all of them decode together to the end.
    Where the tokenizer begins a text with a special token, each window does. Raises LoadError where
    `length` or `num_tokens` is too small.
    """
    prefix = tokenizer.encode_plain("", add_special_tokens=True)[:1]
    token_ids = tokenizer.encode_plain(TEXT_FILE.read_text(encoding="utf-8"))
    if num_tokens is not None:
        token_ids = token_ids[: max(0, num_tokens)]
    size = length - len(prefix)
    if min(size, len(token_ids)) < _SHORTEST:
        raise LoadError(
            f"{len(token_ids)} tokens in windows of {length} are too few to judge by",
            ErrorCode.INVALID_INPUT,
        )
    count = -(-len(token_ids) // size)
    borders = [len(token_ids) * index // count for index in range(count + 1)]
    return [prefix + token_ids[start:end] for start, end in pairwise(borders)]
