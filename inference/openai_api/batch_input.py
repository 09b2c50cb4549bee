"""The input of a batch: a file of lines, each a JSON object that asks for one call."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from django.conf import settings
from rest_framework.exceptions import ParseError

from llamagpu.http.parsers import read_json

MAX_LINES = 50_000
MAX_ID_LENGTH = 512
#: Problems that a batch tells of its input; more would only repeat them.
MAX_PROBLEMS = 100
_FIELDS = {"custom_id", "method", "url", "body"}
# Lines between two signs of life.
_PULSE = 500


@dataclass(frozen=True, slots=True)
class RawLine:
    """Bytes of a line without its end; None where there are too many. `number` counts from 1."""

    number: int
    offset: int
    end: int
    text: bytes | None


@dataclass(frozen=True, slots=True)
class Line:
    """A line that can be read: what shall be called, and the caller's name for it.

    `number` is the one of its `RawLine`: in the file, or, once blank lines are left out, in the batch.
    """

    number: int
    custom_id: str
    body: dict[str, Any]


class LineProblem(Exception):
    """Why a line cannot be read, as a batch tells it."""

    def __init__(self, code: str, message: str, line: int | None, param: str | None = None) -> None:
        super().__init__(message)
        self.fields = {"code": code, "message": message, "param": param, "line": line}


def raw_lines(path: Path, *, offset: int = 0, number: int = 0) -> Iterator[RawLine]:
    """Lines that hold something, from behind line `number`, which ends at `offset`. Raises OSError."""
    limit = settings.DATA_UPLOAD_MAX_MEMORY_SIZE
    with path.open("rb") as file:
        file.seek(offset)
        while text := file.readline(limit + 1):
            number += 1
            is_long = len(text) > limit
            end = offset + len(text) + (_skip_line(file) if is_long else 0)
            if is_long or text.strip():
                yield RawLine(number, offset, end, None if is_long else text)
            offset = end


def line_at(path: Path, offset: int) -> bytes:
    """A line that was read before. Raises OSError."""
    with path.open("rb") as file:
        file.seek(offset)
        return file.readline(settings.DATA_UPLOAD_MAX_MEMORY_SIZE + 1)


def _skip_line(file: IO[bytes]) -> int:
    """Read to the line's end; how many bytes that were."""
    skipped = 0
    while text := file.readline(64 * 1024):
        skipped += len(text)
        if text.endswith(b"\n"):
            break
    return skipped


def parse_line(raw: RawLine, endpoint: str) -> Line:
    """Raises LineProblem."""
    number = raw.number
    if raw.text is None:
        limit = settings.DATA_UPLOAD_MAX_MEMORY_SIZE
        raise LineProblem("line_too_long", f"Is longer than {limit} bytes.", number)
    try:
        fields = read_json(raw.text, "line")
    except ParseError as error:
        raise LineProblem("invalid_json_line", str(error.detail), number) from error
    if not isinstance(fields, dict):
        raise LineProblem("invalid_json_line", "Must be a JSON object.", number)
    for name in sorted(set(fields) - _FIELDS):
        message = "Unknown field: it is refused rather than ignored."
        raise LineProblem("invalid_request", message, number, name[:64])
    if fields.get("method") != "POST":
        raise LineProblem("invalid_method", "Must be POST.", number, "method")
    if fields.get("url") != endpoint:
        message = f"Must be {endpoint}, the endpoint of the batch."
        raise LineProblem("invalid_url", message, number, "url")
    if not isinstance(fields.get("body"), dict):
        raise LineProblem("invalid_request", "Must be a JSON object.", number, "body")
    return Line(number, _custom_id(fields.get("custom_id"), number), fields["body"])


def _custom_id(value: Any, number: int) -> str:
    if not isinstance(value, str) or not 1 <= len(value) <= MAX_ID_LENGTH:
        message = f"Must be a string of 1 to {MAX_ID_LENGTH} characters."
        raise LineProblem("invalid_custom_id", message, number, "custom_id")
    return value


def check_input(
    path: Path, endpoint: str, pulse: Callable[[], None]
) -> tuple[int, list[dict[str, Any]]]:
    """The number of lines, and what is wrong with them. `pulse` is called now and then.

    Raises OSError and whatever `pulse` raises.
    """
    number_of_id: dict[str, int] = {}
    problems: list[dict[str, Any]] = []
    num_lines = 0
    for num_lines, raw in enumerate(raw_lines(path), 1):
        if num_lines % _PULSE == 0:
            pulse()
        try:
            if num_lines > MAX_LINES:
                message = f"The file has more than {MAX_LINES} lines, the most that are accepted."
                raise LineProblem("too_many_tasks", message, None)
            line = parse_line(raw, endpoint)
            first = number_of_id.setdefault(line.custom_id, line.number)
            if first != line.number:
                message = f"Is the custom_id of line {first} too."
                raise LineProblem("duplicate_custom_id", message, line.number, "custom_id")
        except LineProblem as problem:
            problems.append(problem.fields)
            if len(problems) >= MAX_PROBLEMS or num_lines > MAX_LINES:
                break
    if not num_lines:
        problems.append(LineProblem("empty_file", "The file has no lines.", None).fields)
    return num_lines, problems
