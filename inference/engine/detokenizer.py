"""Token ids to text, piece by piece: whole characters only, and never a stop string.

`TextAssembler` decodes a sliding window of tokens, so that tokenizers whose words depend on their
left neighbour (SentencePiece's leading space) come out as if decoded at once, at constant cost.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

Decode = Callable[[Sequence[int]], str]

_REPLACEMENT = "\ufffd"
# The first bytes of a character of up to four bytes: three, each of which may decode to one mark.
_MAX_INCOMPLETE = 3


class TextAssembler:
    """The growing text of one request. `push` returns what may be shown; it is never taken back.

    Bytes that end inside a character wait for its end; at the end of the generation an incomplete
    character is dropped. Text that may begin a stop string waits until that is decided; the stop
    string itself and what follows are no part of the text.
    """

    def __init__(self, decode: Decode, stop: Sequence[str] = ()) -> None:
        self._decode = decode
        self._stop = tuple(string for string in stop if string)
        self._ids: list[int] = []
        self._window = 0  # index of the first token that is decoded again
        self._settled = 0  # index of the first token behind the last whole character
        self._num_read = 0  # characters of the window that were handed on
        self._held = ""
        self._parts: list[str] = []
        self.is_stopped = False

    @property
    def text(self) -> str:
        """All text returned so far."""
        return "".join(self._parts)

    def push(self, token_id: int, *, check_stop: bool = True) -> str:
        """Add a token; the text that became certain, often empty. Sets `is_stopped`.

        With `check_stop` False (fewer than `min_tokens` so far) stop strings are ordinary text.
        """
        fresh = self._read(token_id)
        if self.is_stopped:
            return ""
        if not self._stop or not check_stop:
            return self._show(self._take_held() + fresh)
        return self._show(self._filter_stop(fresh))

    def finish(self) -> str:
        """The held-back text, once no token follows."""
        return "" if self.is_stopped else self._show(self._take_held())

    def _read(self, token_id: int) -> str:
        self._ids.append(token_id)
        window = self._decode(self._ids[self._window :])
        num_whole = len(window) - _count_incomplete(window)
        fresh = window[self._num_read : num_whole]
        if num_whole == len(window) and fresh:
            # All characters are whole: the tokens since the last such place become left context.
            self._window, self._settled = self._settled, len(self._ids)
            self._num_read = len(self._decode(self._ids[self._window : self._settled]))
        else:
            self._num_read = max(self._num_read, num_whole)
        return fresh

    def _filter_stop(self, fresh: str) -> str:
        buffer = self._take_held() + fresh
        found = [position for stop in self._stop if (position := buffer.find(stop)) >= 0]
        if found:
            self.is_stopped = True
            return buffer[: min(found)]
        num_held = max(_overlap(buffer, stop) for stop in self._stop)
        cut = len(buffer) - num_held
        self._held = buffer[cut:]
        return buffer[:cut]

    def _take_held(self) -> str:
        held, self._held = self._held, ""
        return held

    def _show(self, text: str) -> str:
        if text:
            self._parts.append(text)
        return text


def _count_incomplete(text: str) -> int:
    """How many characters at the end may be the beginning of one whose bytes are yet to come."""
    count = 0
    while count < _MAX_INCOMPLETE and text.endswith(_REPLACEMENT, 0, len(text) - count):
        count += 1
    return count


def _overlap(text: str, stop: str) -> int:
    """Length of the longest end of `text` that begins `stop` without being all of it."""
    for length in range(min(len(text), len(stop) - 1), 0, -1):
        if stop.startswith(text[-length:]):
            return length
    return 0
