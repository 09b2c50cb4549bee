"""Texts that people give to alerts: one printable line each, since mails carry them in their heads."""

from __future__ import annotations

from typing import Any

from llamagpu.http.errors import AppError
from llamagpu.lib.error_codes import ErrorCode


def invalid(field: str, message: str) -> AppError:
    return AppError(
        ErrorCode.INVALID_INPUT,
        f"{field}: {message}.",
        details=[{"field": field, "message": message}],
    )


def check_line(field: str, value: Any, limit: int, *, may_be_empty: bool = False) -> str:
    """Without spaces around it. Raises AppError INVALID_INPUT."""
    text = value.strip() if isinstance(value, str) else ""
    if not text and not may_be_empty:
        raise invalid(field, "must not be empty")
    if len(text) > limit or not text.isprintable():
        raise invalid(field, f"must be one line of at most {limit} printable characters")
    return text
