"""Lengths of time as people type them: `30d`, `12h`, `90m`, `45s`, `2w`."""

from __future__ import annotations

import re
from datetime import timedelta

_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
_LONGEST = timedelta(days=36_525)  # so that a date this far ahead still has a four-digit year
_PATTERN = re.compile(r"(\d{1,6})([smhdw])")


def parse_duration(text: str) -> timedelta:
    """A whole number with one unit; `0` needs none. Raises ValueError."""
    text = text.strip().lower()
    if text == "0":
        return timedelta(0)
    match = _PATTERN.fullmatch(text)
    if match is None:
        raise ValueError(f"'{text}' is no length of time such as 30d, 12h or 90m")
    number, unit = match.groups()
    length = timedelta(**{_UNITS[unit]: int(number)})
    if length > _LONGEST:
        raise ValueError(f"'{text}' is longer than a hundred years")
    return length
