"""Words of a plugin that others will read, without what its settings hold: some of it is secret."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

# Shorter ones are words that anybody may use.
_SHORTEST = 6
_LEFT_OUT = "[setting]"


def without_settings(message: str, config: Mapping[str, Any]) -> str:
    """`message` with every longer text of the settings left out, also one that the end cuts short."""
    texts = sorted(set(_texts(config)), key=len, reverse=True)
    for text in texts:
        message = message.replace(text, _LEFT_OUT)
    for text in texts:
        at = message.rfind(text[:_SHORTEST])
        if at >= 0 and text.startswith(message[at:]):
            return message[:at] + _LEFT_OUT
    return message


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str) and len(value) >= _SHORTEST:
        yield value
    elif isinstance(value, Mapping):
        for entry in value.values():
            yield from _texts(entry)
    elif isinstance(value, list | tuple):
        for entry in value:
            yield from _texts(entry)
