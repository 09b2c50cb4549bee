"""What a plugin in our own process returned: the right context with values of the right types?"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

from plugins_app.base import CONTEXT_OF, Context, Message
from plugins_app.runners.base import FaultKind, PluginFaultError


def check(outcome: Any, context: Context, max_bytes: int) -> Context:
    """`outcome` as what `context` is. Raises PluginFaultError."""
    if outcome is context:
        return context
    cls = type(context)
    if type(outcome) is not cls:
        raise _garbage(f"execute() returned a {type(outcome).__name__}, not the {cls.__name__}")
    num_bytes = 0
    for name, is_right in _CHECKS[cls]:
        value = getattr(outcome, name)
        if value is getattr(context, name):
            continue
        if not is_right(value):
            raise _garbage(f"{cls.__name__}.{name} holds a {type(value).__name__}")
        num_bytes += _size(value, name)
    if num_bytes > max_bytes:
        raise PluginFaultError(FaultKind.TOO_LARGE, f"a context of {num_bytes} bytes")
    return cls(**{name: getattr(outcome, name) for name, _ in _CHECKS[cls]})


def _size(value: Any, name: str) -> int:
    """Bytes of the texts in a field. Raises PluginFaultError for a text that UTF-8 cannot carry."""
    if isinstance(value, str):
        try:
            return len(value.encode())
        except UnicodeEncodeError:
            raise _garbage(f"{name} holds half a character") from None
    if isinstance(value, Message):
        return _size(value.role, name) + _size(value.content, name)
    if isinstance(value, Mapping):
        return sum(_size(key, name) + _size(entry, name) for key, entry in value.items())
    if isinstance(value, tuple | list):
        return sum(_size(entry, name) for entry in value)
    return 8


def _garbage(message: str) -> PluginFaultError:
    return PluginFaultError(FaultKind.GARBAGE, message)


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _is_text_or_none(value: Any) -> bool:
    return value is None or isinstance(value, str)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_switch(value: Any) -> bool:
    return isinstance(value, bool)


def _are_texts(value: Any) -> bool:
    return isinstance(value, tuple) and all(isinstance(entry, str) for entry in value)


def _are_messages(value: Any) -> bool:
    return value is None or (isinstance(value, tuple) and all(map(_is_message, value)))


def _is_message(value: Any) -> bool:
    return type(value) is Message and _is_text(value.role) and _is_text(value.content)


def _is_json_object(value: Any) -> bool:
    return isinstance(value, Mapping) and all(map(_is_text, value)) and _is_json(value, 32)


def _is_json(value: Any, depth: int) -> bool:
    if value is None or isinstance(value, str | bool | int):
        return True
    if isinstance(value, float):
        return value - value == 0  # neither infinite nor NaN
    if depth == 0:
        return False
    if isinstance(value, Mapping):
        return all(isinstance(k, str) and _is_json(v, depth - 1) for k, v in value.items())
    return isinstance(value, tuple | list) and all(_is_json(entry, depth - 1) for entry in value)


_OF_TYPE: dict[str, Callable[[Any], bool]] = {
    "str": _is_text,
    "str | None": _is_text_or_none,
    "int": _is_whole,
    "bool": _is_switch,
    "float": _is_number,
    "float | None": lambda value: value is None or _is_number(value),
    "tuple[str, ...]": _are_texts,
    "tuple[Message, ...] | None": _are_messages,
    "Mapping[str, Any]": _is_json_object,
}

# The annotations of `base.py` are strings: a type that is new there fails here, at the first import.
_CHECKS = {
    cls: tuple((field.name, _OF_TYPE[str(field.type)]) for field in dataclasses.fields(cls))
    for cls in CONTEXT_OF.values()
}
