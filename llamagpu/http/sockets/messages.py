"""What goes over a socket: JSON objects, read as strictly as the bodies of REST, written in one envelope.

`{"timestamp", "event_type", "data"}`; what a message belongs to may stand beside. An error has the
event type `error`, and as its data what a REST call would have answered.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

from llamagpu.http.errors import AppError, error_body
from llamagpu.http.parsers import read_json
from llamagpu.lib.error_codes import ErrorCode

ERROR = "error"
HEARTBEAT = "heartbeat"


def write_message(event_type: str, data: Any, **beside: Any) -> str:
    """One message as its text. Values of `beside` that are None are left out."""
    message = {
        "timestamp": datetime.now(tz=UTC).isoformat(),
        "event_type": event_type,
        "data": data,
        **{name: value for name, value in beside.items() if value is not None},
    }
    return json.dumps(message, ensure_ascii=False)


def write_error(error: AppError, request_id: str, **beside: Any) -> str:
    """The message that tells a caller of `error`."""
    return write_message(ERROR, error_data(error, request_id), **beside)


def error_data(error: AppError, request_id: str) -> dict[str, Any]:
    """The REST envelope, with the seconds to wait that REST has in a header."""
    body = error_body(request_id, error.code, error.message, error.details)
    if error.retry_after is not None:
        body["error"]["retry_after"] = error.retry_after
    return body


def read_message(text: str | None, most_bytes: int) -> dict[str, Any]:
    """The object that a client has sent; `text` is None for bytes.

    Raises AppError CONTENT_TOO_LARGE and INVALID_INPUT, and ParseError.
    """
    if text is None:
        raise AppError(ErrorCode.INVALID_INPUT, "Messages are text, not bytes.")
    if len(text) > most_bytes or len(content := text.encode("utf-8", "replace")) > most_bytes:
        message = f"A message may have {most_bytes} bytes at most."
        raise AppError(ErrorCode.CONTENT_TOO_LARGE, message)
    value = read_json(content, "message")
    if not isinstance(value, dict):
        raise AppError(ErrorCode.INVALID_INPUT, "A message must be a JSON object.")
    return value
