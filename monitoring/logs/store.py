"""A capped Redis Stream of log lines: the newest stay, the oldest go."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

import msgspec

from llamagpu.lib.redis_client import SyncRedis

KEY = "lg:logs"
#: Lines that are kept, about: some megabytes.
MAX_LINES = 20_000
_FIELD = "line"
_READ_AT_ONCE = 1000


@dataclass(frozen=True, slots=True)
class LogLine:
    """`id` is its place in the stream, empty before it is there."""

    timestamp: str
    level: str
    component: str
    logger: str
    message: str
    node: str = ""
    process: int | None = None
    request_id: str = ""
    exception: str = ""
    id: str = ""


_encode = msgspec.json.Encoder().encode
_decoder = msgspec.json.Decoder(LogLine)


def append(client: SyncRedis, lines: Iterable[LogLine]) -> None:
    """Raises RedisError."""
    pipeline = client.pipeline(transaction=False)
    for line in lines:
        pipeline.xadd(KEY, {_FIELD: _encode(line)}, maxlen=MAX_LINES, approximate=True)
    pipeline.execute()


def newest_first(client: SyncRedis, *, since: str = "-", before: str = "+") -> Iterator[LogLine]:
    """From `since` (included) to `before` (not included), ids of the stream. Raises RedisError."""
    if not before.strip("0-"):
        return  # nothing comes before the first place there is, and Redis refuses the question
    last = f"({before}" if before != "+" else "+"
    while found := client.xrevrange(KEY, last, since, count=_READ_AT_ONCE):
        for raw_id, fields in found:
            line = _read(raw_id.decode(), fields)
            if line is not None:
                yield line
        if len(found) < _READ_AT_ONCE:
            return
        last = f"({found[-1][0].decode()}"


def _read(place: str, fields: dict[bytes, bytes]) -> LogLine | None:
    try:
        found = _decoder.decode(fields[_FIELD.encode()])
    except (KeyError, msgspec.DecodeError):
        return None  # another version's
    return replace(found, id=place)
