"""Finds calls of functions in what a model writes, whole or as it comes.

Models of different families mark a call in their own ways; two cover those with tools in their
template: `<tool_call>{...}</tool_call>` (Hermes, Qwen, SmolLM), and an answer that is nothing but
JSON, one call or a list of them (Llama, Mistral). Nothing is evaluated: what is no JSON object with
the name of an offered function stays text.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import re
import secrets
import string
from collections.abc import Callable, Collection
from dataclasses import replace
from typing import Any

from inference.openai_api.tool_fields import ToolMode, ToolUse
from inference.protocol import ToolCall

_OPEN, _CLOSE = "<tool_call>", "</tool_call>"
_ALPHABET = string.ascii_letters + string.digits
_ID_LENGTH = 9
# The head of a call that a grammar has led: everything behind it is the arguments and a brace.
_HEAD = re.compile(r'\s*\{\s*"name"\s*:\s*"([a-zA-Z0-9_-]+)"\s*,\s*"arguments"\s*:\s*')

NewId = Callable[[], str]
#: Text, or a call: `arguments` of the same id that come again are to be appended.
Piece = str | ToolCall


def new_call_id() -> str:
    """Nine letters and digits: some templates accept no other form."""
    return "".join(secrets.choice(_ALPHABET) for _ in range(_ID_LENGTH))


def repeated_call_ids(seed: str) -> NewId:
    """Gives ids of that form which are the same for the same seed, however often it is begun."""
    numbers = itertools.count()

    def new_id() -> str:
        digest = hashlib.sha256(f"{seed} {next(numbers)}".encode()).digest()
        return "".join(_ALPHABET[byte % len(_ALPHABET)] for byte in digest[:_ID_LENGTH])

    return new_id


class PieceReader:
    """Turns one answer's text into pieces, as it comes. `num_calls` counts the calls so far."""

    def __init__(self, use: ToolUse, new_id: NewId = new_call_id) -> None:
        self._use = use
        self._new_id = new_id
        self._held = ""
        self._call_id = ""
        self._is_json: bool | None = None
        self._is_behind_call = False
        self.num_calls = 0

    def feed(self, text: str) -> list[Piece]:
        """What can be told so far."""
        if self._use.mode is ToolMode.NONE:
            return [text] if text else []
        if self._use.mode is ToolMode.ONE:
            return self._feed_arguments(text)
        self._held += text
        if self._use.mode is ToolMode.ANY:
            return []
        return self._read_free()

    def finish(self) -> list[Piece]:
        """The rest, once the answer has ended."""
        held, self._held = self._held, ""
        if self._use.mode is ToolMode.ANY:
            return self._finish_any(held)
        if self._use.mode is not ToolMode.FREE:
            return []
        if self._is_json and (calls := self._calls_of(held)):
            self.num_calls += len(calls)
            return list(calls)
        return _text(held.lstrip() if self._is_behind_call else held)

    def _feed_arguments(self, text: str) -> list[Piece]:
        is_first = not self._call_id
        if is_first:
            self._call_id = self._new_id()
            self.num_calls = 1
        name = self._use.names[0]
        return [ToolCall(self._call_id, name, text)] if text or is_first else []

    def _finish_any(self, held: str) -> list[Piece]:
        """One call, possibly cut off in its arguments."""
        head = _HEAD.match(held)
        if head is None:
            return []
        rest = held[head.end() :]
        if calls_of_json(held, self._use.names):
            rest = rest.rstrip()[:-1].rstrip()
        self.num_calls += 1
        return [ToolCall(self._new_id(), head[1], rest)]

    def _read_free(self) -> list[Piece]:
        if self._is_json is None:
            start = self._held.lstrip()
            if not start:
                return []
            self._is_json = start[0] in "[{"
        return [] if self._is_json else self._read_marked()

    def _read_marked(self) -> list[Piece]:
        """Text up to a mark that may have begun, and calls whose end is there.

        Space around calls is no text; where a call turns out to be none, all of it is.
        """
        pieces: list[Piece] = []
        while True:
            if self._is_behind_call:
                self._held = self._held.lstrip()
                self._is_behind_call = not self._held
            at = self._held.find(_OPEN)
            end = self._held.find(_CLOSE, at) if at >= 0 else -1
            if end < 0:
                begun = at if at >= 0 else len(self._held) - _beginning_of(_OPEN, self._held)
                return pieces + self._say(len(self._held[:begun].rstrip()))
            end += len(_CLOSE)
            body = self._held[at + len(_OPEN) : end - len(_CLOSE)]
            if calls := self._calls_of(body):
                pieces += [*_text(self._held[:at].rstrip()), *calls]
                self.num_calls += len(calls)
                self._held, self._is_behind_call = self._held[end:], True
            else:
                pieces += self._say(end)

    def _calls_of(self, text: str) -> list[ToolCall]:
        calls = calls_of_json(text, self._use.names)
        return [replace(call, id=self._new_id()) for call in calls]

    def _say(self, length: int) -> list[Piece]:
        """That much of what is held."""
        said, self._held = self._held[:length], self._held[length:]
        return _text(said)


def calls_of_json(text: str, names: Collection[str]) -> list[ToolCall]:
    """The calls that a JSON text is: one, or a list of them; none where it is anything else."""
    try:
        value = json.loads(text, parse_constant=_refuse)
    except (ValueError, RecursionError):
        return []
    found = [_call_of(item, names) for item in (value if isinstance(value, list) else [value])]
    return [call for call in found if call] if all(found) else []


def _call_of(value: Any, names: Collection[str]) -> ToolCall | None:
    name = value.get("name") if isinstance(value, dict) else None
    if not isinstance(name, str) or name not in names:
        return None
    arguments = value.get("arguments", value.get("parameters", {}))
    if not isinstance(arguments, str):
        # Escaped: a model may well write half of a surrogate pair, which no UTF-8 text can hold.
        arguments = json.dumps(arguments)
    elif not _is_unicode(arguments):
        return None
    return ToolCall(new_call_id(), name, arguments)


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _refuse(constant: str) -> Any:
    raise ValueError(f"{constant} is not JSON")


def _beginning_of(mark: str, text: str) -> int:
    """How many characters at the end of `text` may be the beginning of `mark`."""
    longest = min(len(mark) - 1, len(text))
    return next((n for n in range(longest, 0, -1) if text.endswith(mark[:n])), 0)


def _text(text: str) -> list[Piece]:
    return [text] if text else []
