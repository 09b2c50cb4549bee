"""What a plugin's process answers, taken apart with distrust.

A plugin can write to its channel itself: nothing here is true because the other end should have seen
to it. The context must have exactly its own fields, each of its own type.
"""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Mapping
from typing import Any

import msgspec

from plugins_app.base import CONTEXT_OF, Context, Hook, Message, PluginRefusal
from plugins_app.runners.base import FaultKind, PluginFaultError

_WIRE_MESSAGE = msgspec.defstruct(
    "Message", [("role", str), ("content", str)], forbid_unknown_fields=True
)


class AnswerError(Exception):
    """These bytes are no answer to the call; the process can no longer be relied on."""


class _Answer(msgspec.Struct, forbid_unknown_fields=True):
    id: int
    result: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    refused: str | None = None
    raised: str | None = None
    garbage: str | None = None
    too_large: int | None = None


def encode_call(number: int, hook: Hook, context: Context) -> bytes:
    """Raises PluginFaultError where a context holds what JSON has no word for."""
    try:
        return msgspec.json.encode({"id": number, "hook": hook, "context": context})
    except (TypeError, ValueError, RecursionError, UnicodeError) as error:
        raise PluginFaultError(FaultKind.GARBAGE, f"the call is no JSON: {error}") from error


def read_answer(payload: bytes, number: int, context: Context) -> Context:
    """What the plugin made of `context`.

    Raises PluginRefusal, PluginFaultError, and AnswerError where it is no answer to call `number`.
    """
    try:
        answer = msgspec.json.decode(payload, type=_Answer)
    except (msgspec.DecodeError, RecursionError, UnicodeError) as error:
        raise AnswerError(f"not an answer: {error}") from error
    if answer.id != number:
        raise AnswerError(f"an answer to call {answer.id}, not to {number}")
    if answer.refused is not None:
        raise PluginRefusal(answer.refused[:500])
    if answer.raised is not None:
        raise PluginFaultError(FaultKind.RAISED, answer.raised[:500])
    if answer.garbage is not None:
        raise PluginFaultError(FaultKind.GARBAGE, answer.garbage[:500])
    if answer.too_large is not None:
        raise PluginFaultError(FaultKind.TOO_LARGE, f"an answer of {answer.too_large} bytes")
    if isinstance(answer.result, msgspec.UnsetType):
        raise AnswerError("an answer without a result")
    return _read_context(type(context), answer.result)


def _read_context(cls: type[Context], raw: msgspec.Raw) -> Context:
    try:
        values = msgspec.structs.asdict(_DECODERS[cls].decode(raw))
    except (msgspec.DecodeError, RecursionError, UnicodeError) as error:
        raise PluginFaultError(FaultKind.GARBAGE, f"{cls.__name__}: {error}") from error
    if values.get("messages") is not None:
        values["messages"] = tuple(Message(turn.role, turn.content) for turn in values["messages"])
    return cls(**values)


def _decoder(cls: type[Any]) -> msgspec.json.Decoder[Any]:
    """For the fields of a context: all of them, and no other."""
    hints = typing.get_type_hints(cls)
    shape: list[tuple[str, Any]] = []
    for field in dataclasses.fields(cls):
        hint = hints[field.name]
        if field.name == "messages":
            hint = tuple[_WIRE_MESSAGE, ...] | None  # type: ignore[valid-type]
        elif typing.get_origin(hint) is Mapping:
            hint = dict[str, Any]
        shape.append((field.name, hint))
    return msgspec.json.Decoder(msgspec.defstruct(cls.__name__, shape, forbid_unknown_fields=True))


_DECODERS = {cls: _decoder(cls) for cls in CONTEXT_OF.values()}
