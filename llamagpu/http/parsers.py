"""Reads JSON bodies strictly: UTF-8, one object, bounded size and depth."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import IO, Any

from rest_framework.exceptions import ParseError
from rest_framework.parsers import BaseParser

MAX_DEPTH = 64


class _TwiceError(ValueError):
    """A key stands twice in one object."""


class StrictJSONParser(BaseParser):
    """Accepts what the JSON standard allows, plus NaN and infinities, which the fields refuse by name.

    Raises ParseError for anything else and Django's RequestDataTooBig beyond the size limit.
    """

    media_type = "application/json"

    def parse(
        self,
        stream: IO[Any],
        media_type: str | None = None,
        parser_context: Mapping[str, Any] | None = None,
    ) -> Any:
        # `request.body` enforces DATA_UPLOAD_MAX_MEMORY_SIZE; reading the stream would not.
        return read_json((parser_context or {})["request"]._request.body, "body")


def read_json(text: bytes, noun: str) -> Any:
    """What `text` says. Raises ParseError, which calls it by `noun`."""
    try:
        value = json.loads(text.decode("utf-8"), object_pairs_hook=_unique_keys)
    except UnicodeDecodeError as error:
        raise ParseError(f"The {noun} is not valid UTF-8 (byte {error.start}).") from error
    except json.JSONDecodeError as error:
        raise ParseError(
            f"The {noun} is not valid JSON: {error.msg} (line {error.lineno}, column {error.colno})."
        ) from error
    except RecursionError as error:
        raise ParseError(f"The {noun} is nested deeper than {MAX_DEPTH} levels.") from error
    except _TwiceError as error:
        raise ParseError(f"The {noun} is not valid JSON: {error}") from error
    except ValueError as error:
        raise ParseError(f"The {noun} holds a number of too many digits.") from error
    if _depth(value) > MAX_DEPTH:
        raise ParseError(f"The {noun} is nested deeper than {MAX_DEPTH} levels.")
    return value


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            raise _TwiceError(f"the key {key!r} stands twice in one object")
        found[key] = value
    return found


def _depth(value: Any) -> int:
    depth, level = 0, [value]
    while level and depth <= MAX_DEPTH:
        depth += 1
        level = [
            inner
            for outer in level
            if isinstance(outer, dict | list)
            for inner in (outer.values() if isinstance(outer, dict) else outer)
        ]
    return depth
