"""Stage 6/7: one Redis Stream per job carries its events from the worker to any web process.

Entry ids are `<attempt>-<seq>` with seq from 1: Redis refuses an id at or below the top one, so an
attempt that was given up cannot write into the stream of the one after it, and a reader sees gaps.
A stream ends with exactly one `DoneEvent` or `ErrorEvent` and expires a while later.
"""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from inference.protocol import DoneEvent, ErrorEvent, StreamEvent, TokenEvent
from inference.wire import decode_json, encode_json
from llamagpu.lib.redis_client import SyncRedis

#: Seconds that a stream can be read after its end.
KEEP_AFTER_END = 900
#: The same where it holds vectors, which are long; then the row has them, for a day.
KEEP_VECTORS = 60
#: Seconds for which `ended` marks outlive their job: above the longest job's time.
ENDED_LIFETIME = 3600
#: Seconds that a reader's sign of life counts. Readers give it every two seconds.
READER_LIFETIME = 6
_FIELD = "e"
_FIELD_BYTES = _FIELD.encode()
_APPEND_ALL = """
local refusals = {}
for i, key in ipairs(KEYS) do
  local at = 3 * i - 2
  local answer = redis.pcall('XADD', key, ARGV[at], 'e', ARGV[at + 1])
  if type(answer) == 'table' and answer.err then
    refusals[i] = answer.err
  else
    refusals[i] = ''
    if ARGV[at + 2] ~= '' then redis.call('EXPIRE', key, ARGV[at + 2]) end
  end
end
return refusals
"""
_POSITION = re.compile(r"(\d{1,9})-(\d{1,18})", re.ASCII)


@dataclass(frozen=True, slots=True)
class JobKeys:
    """The Redis keys of one job."""

    job_id: str

    @property
    def events(self) -> str:
        return f"lg:job:{self.job_id}:ev"

    @property
    def lease(self) -> str:
        """Held by the worker that runs the job; its value names worker, instance and attempt."""
        return f"lg:job:{self.job_id}:lease"

    @property
    def cancel(self) -> str:
        """Exists once somebody asked for the job's end, and says why."""
        return f"lg:job:{self.job_id}:cancel"

    @property
    def ended(self) -> str:
        """Exists once the job has ended: a message that comes again finds it and does nothing."""
        return f"lg:job:{self.job_id}:ended"

    @property
    def reader(self) -> str:
        """Exists while somebody reads the job's stream, and a few seconds longer."""
        return f"lg:job:{self.job_id}:reader"


class Position(NamedTuple):
    """An entry of a job's stream, or the place before its first one."""

    attempt: int = 0
    number: int = 0

    def __str__(self) -> str:
        return f"{self.attempt}-{self.number}"

    @classmethod
    def parse(cls, text: str) -> Position:
        """Raises ValueError for what is no `<attempt>-<seq>`."""
        match = _POSITION.fullmatch(text)
        if match is None:
            raise ValueError(f"not a position in a stream: {text[:40]!r}")
        return cls(int(match[1]), int(match[2]))

    def is_followed_by(self, other: Position) -> bool:
        """Whether nothing lies between the two: entries count from 1 within each attempt."""
        if other.attempt == self.attempt:
            return other.number == self.number + 1
        return other.attempt > self.attempt and other.number == 1


#: An event and where it stands in its job's stream.
Placed = tuple[Position, StreamEvent]
#: What a follower of a job gets: its events up to the terminal one, None when there is no news. Close it,
#: where that one has not come: the job is followed until then.
Events = AsyncGenerator[Placed | None, None]


def is_terminal(event: StreamEvent) -> bool:
    return isinstance(event, DoneEvent | ErrorEvent)


def append(pipeline: Any, keys: JobKeys, entry_id: str, event: StreamEvent, lifetime: int) -> None:
    """Queue one event on a pipeline; `lifetime` seconds bound a stream whose job is never settled."""
    pipeline.xadd(keys.events, {_FIELD: encode_json(event)}, id=entry_id)
    pipeline.expire(keys.events, _lifetime(event, lifetime))


def append_all(
    pipeline: Any, entries: Sequence[tuple[JobKeys, str, StreamEvent, int | None]]
) -> None:
    """Queue many events as one command: keys, entry id, event and lifetime of each, as `append` has them.

    Without a lifetime the stream keeps the one that it has. Its answer is a list: for each event an empty
    text, or why Redis refused it. Readers that wait for several streams at once are woken by it once.
    """
    arguments: list[str | bytes | int] = []
    for _, entry_id, event, lifetime in entries:
        seconds = "" if lifetime is None else _lifetime(event, lifetime)
        arguments += (entry_id, encode_json(event), seconds)
    names = [keys.events for keys, *_ in entries]
    pipeline.eval(_APPEND_ALL, len(names), *names, *arguments)


def _lifetime(event: StreamEvent, lifetime: int) -> int:
    if not is_terminal(event):
        return lifetime
    has_vectors = isinstance(event, DoneEvent) and event.embeddings
    return KEEP_VECTORS if has_vectors else KEEP_AFTER_END


def placed_events(raw: Iterable[tuple[bytes, dict[bytes, bytes]]]) -> list[Placed]:
    """What Redis answers for one stream, decoded. Raises WireError for what is no event."""
    placed: list[Placed] = []
    for entry_id, fields in raw:
        attempt, _, number = entry_id.partition(b"-")
        placed.append((Position(int(attempt), int(number)), decode_json(fields[_FIELD_BYTES])))
    return placed


def last_event(client: SyncRedis, job_id: str) -> DoneEvent | ErrorEvent | None:
    """The terminal event of a job's stream, where there is one. Raises RedisError."""
    for _, fields in client.xrevrange(JobKeys(job_id).events, count=1):
        event = decode_json(fields[_FIELD_BYTES])
        if isinstance(event, DoneEvent | ErrorEvent):
            return event
    return None


def published_tokens(client: SyncRedis, job_id: str) -> int:
    """Tokens that the newest attempt of a job has published so far, of all its answers together.

    Raises RedisError.
    """
    key = JobKeys(job_id).events
    newest = client.xrevrange(key, count=1)
    if not newest:
        return 0
    attempt = newest[0][0].decode().partition("-")[0]
    per_answer: dict[int, int] = {}
    for _, fields in client.xrange(key, min=f"{attempt}-0"):
        event = decode_json(fields[_FIELD_BYTES])
        if isinstance(event, TokenEvent):
            per_answer[event.index] = event.position + 1
        if isinstance(event, DoneEvent | ErrorEvent):
            return event.usage.completion_tokens
    return sum(per_answer.values())
