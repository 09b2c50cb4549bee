"""Makes values fit for the audit log: no secrets, no prompts, nothing that a database changes.

A name tells what its value is: `password`, `client_secret`, `api_key`, `prompt`, `messages` … at any
depth. What is left is cut to a bound, and a key that stands inside a text is taken out of it.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

REDACTED = "[redacted]"
MAX_TEXT = 1000
MAX_ITEMS = 200
MAX_DEPTH = 8

# The last word of a name decides: `api_key` holds a key, `key_prefix` a prefix.
_LAST_WORDS = """
    password passwords passwd passphrase secret secrets key token pepper digest digests otp
    authorization cookie cookies credential credentials
    prompt prompts text texts messages content input inputs output outputs
"""
_SENSITIVE = frozenset(_LAST_WORDS.split())
_SENSITIVE_NAMES = frozenset({"recovery_codes", "generated_text", "session_id", "csrf_token"})
_KEY = re.compile(r"lg_[0-9A-Za-z]{8}_[0-9A-Za-z]{20,}")
_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+")


def redact(value: Any, depth: int = 0) -> Any:
    """`value` as JSON that reads back the same from every database, without secrets."""
    if value is None or isinstance(value, bool | int):
        return value
    if isinstance(value, float):
        return _number(value)
    if isinstance(value, Mapping):
        if depth >= MAX_DEPTH:
            return REDACTED
        items = list(value.items())[:MAX_ITEMS]
        return {
            clean_text(str(name)): REDACTED if is_sensitive(str(name)) else redact(inner, depth + 1)
            for name, inner in items
        }
    if isinstance(value, list | tuple | set | frozenset):
        if depth >= MAX_DEPTH:
            return REDACTED
        members = sorted(value, key=str) if isinstance(value, set | frozenset) else list(value)
        return [redact(inner, depth + 1) for inner in members[:MAX_ITEMS]]
    return clean_text(str(value))


def is_sensitive(name: str) -> bool:
    """Whether a value of this name is a secret or somebody's words."""
    words = [word.lower() for word in _WORD.findall(name)]
    lowered = name.lower().replace("-", "_")
    return lowered in _SENSITIVE_NAMES or (bool(words) and words[-1] in _SENSITIVE)


def clean_text(text: str, limit: int = MAX_TEXT) -> str:
    """Valid Unicode without NUL, no longer than `limit`, without API keys."""
    text = text.encode("utf-8", "replace").decode("utf-8").replace("\x00", "\ufffd")
    text = _KEY.sub(REDACTED, text)
    return text if len(text) <= limit else text[: limit - 1] + "…"


def _number(value: float) -> int | float | str:
    """PostgreSQL gives 1e16 back as a whole number, and holds no infinity."""
    if not math.isfinite(value):
        return str(value)
    return int(value) if value.is_integer() else value
