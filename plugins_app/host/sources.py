"""The sources of a plugin on their way to its process: those bytes whose digest was compared, no others."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any

_KEY = "sources"


def with_sources(order: Mapping[str, Any], sources: Mapping[str, bytes]) -> dict[str, Any]:
    """`order` as JSON can tell it."""
    told = {name: base64.b64encode(source).decode() for name, source in sources.items()}
    return {**order, _KEY: told}


def sources_in(order: Mapping[str, Any]) -> dict[str, bytes]:
    return {name: base64.b64decode(source) for name, source in order[_KEY].items()}
