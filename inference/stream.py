"""Stage 6/7: one Redis Stream per job carries its events from the worker to any web process.

Entry ids are `<attempt>-<seq>` with seq from 1: Redis refuses an id at or below the top one, so an
attempt that was given up cannot write into the stream of the one after it, and a reader sees gaps.
A stream ends with exactly one `DoneEvent` or `ErrorEvent` and expires a while later.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import redis.asyncio

from inference.protocol import DoneEvent, ErrorEvent, StreamEvent, TokenEvent
from inference.wire import decode_json, encode_json
from llamagpu.lib.redis_client import SyncRedis

#: Seconds that a stream can be read after its end.
KEEP_AFTER_END = 900
#: Seconds for which `ended` marks outlive their job: above the broker's visibility timeout.
ENDED_LIFETIME = 3600
#: Seconds that a reader's sign of life counts.
READER_LIFETIME = 10
_FIELD = "e"
_READ_BLOCK_MS = 2000
_READ_COUNT = 256


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


def is_terminal(event: StreamEvent) -> bool:
    return isinstance(event, DoneEvent | ErrorEvent)


def append(pipeline: Any, keys: JobKeys, entry_id: str, event: StreamEvent, lifetime: int) -> None:
    """Queue one event on a pipeline; `lifetime` seconds bound a stream whose job is never settled."""
    pipeline.xadd(keys.events, {_FIELD: encode_json(event)}, id=entry_id)
    pipeline.expire(keys.events, KEEP_AFTER_END if is_terminal(event) else lifetime)


def last_event(client: SyncRedis, job_id: str) -> DoneEvent | ErrorEvent | None:
    """The terminal event of a job's stream, where there is one. Raises RedisError."""
    for _, fields in client.xrevrange(JobKeys(job_id).events, count=1):
        event = decode_json(fields[_FIELD.encode()])
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
        event = decode_json(fields[_FIELD.encode()])
        if isinstance(event, TokenEvent):
            per_answer[event.index] = event.position + 1
        if isinstance(event, DoneEvent | ErrorEvent):
            return event.usage.completion_tokens
    return sum(per_answer.values())


async def read_events(
    client: redis.asyncio.Redis, job_id: str, *, cursor: str = "0-0", until: float
) -> AsyncIterator[tuple[str, StreamEvent] | None]:
    """Yields (entry id, event) after `cursor` up to the terminal event.

    Yields None about every two seconds without news, so that the caller can look around. Stops
    without a terminal event once `time.monotonic()` has passed `until`. Raises RedisError.
    """
    keys = JobKeys(job_id)
    while True:
        remaining = until - time.monotonic()
        if remaining <= 0:
            return
        block = max(1, min(_READ_BLOCK_MS, int(remaining * 1000)))
        answer = await client.xread({keys.events: cursor}, count=_READ_COUNT, block=block)
        if not answer:
            yield None
            await asyncio.sleep(0)
            continue
        for entry_id, fields in answer[0][1]:
            cursor = entry_id.decode()
            event = decode_json(fields[_FIELD.encode()])
            yield cursor, event
            if is_terminal(event):
                return
