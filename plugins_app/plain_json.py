"""Values that JSON and every database can hold. No Django."""

from __future__ import annotations

import json
from typing import Any

MAX_BYTES = 64 * 1024


class PlainJsonError(Exception):
    """The message is a rule: `must hold ...`."""


def plain_json(value: Any, max_bytes: int = MAX_BYTES) -> Any:
    """A copy as JSON gives it back. Raises PlainJsonError."""
    try:
        text = json.dumps(value, allow_nan=False, ensure_ascii=False)
        size = len(text.encode("utf-8"))
    except (TypeError, ValueError, RecursionError) as error:
        raise PlainJsonError("must hold what JSON and Unicode can hold") from error
    if size > max_bytes:
        raise PlainJsonError(f"is larger than {max_bytes} bytes")
    if "\\u0000" in text:  # PostgreSQL keeps no NUL
        raise PlainJsonError("must hold no NUL")
    return json.loads(text)
