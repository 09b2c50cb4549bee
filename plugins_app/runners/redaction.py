"""Words of a plugin that others will read, without what its settings hold: some of it is secret."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

# Shorter ones are words that anybody may use.
_SHORTEST = 6


def without_settings(message: str, config: Mapping[str, Any]) -> str:
    """`message` with every longer text of the settings left out."""
    for text in sorted(set(_texts(config)), key=len, reverse=True):
        message = message.replace(text, "[setting]")
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
