"""Stage 6/7: one thread writes the events of all jobs to their Redis Streams.

Events that wait together go out in one round trip, and consecutive tokens of one job in one entry.
While Redis is away the events are kept, in order, and written once it is back.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass

import redis

from inference.protocol import StreamEvent, TokenEvent
from inference.stream import ENDED_LIFETIME, JobKeys, append_all, is_terminal
from llamagpu.lib.batch_queue import BatchQueue
from llamagpu.lib.redis_client import SyncRedis

logger = logging.getLogger(__name__)

_MAX_BATCH = 512
_RETRY_PAUSE = 0.5
# A stream's end does not move while its job runs, so not every entry says it again; some do, for a
# stream that Redis has lost meanwhile and that an entry begins anew.
_LIFETIME_EVERY = 32


@dataclass(frozen=True, slots=True)
class Entry:
    """One event on its way; `lifetime` bounds the stream of a job that is never settled."""

    job_id: str
    attempt: int
    event: StreamEvent
    lifetime: int


class Publisher:
    """`on_fenced(job_id, attempt)` is called when Redis refuses an attempt as out of date."""

    def __init__(self, client: SyncRedis, on_fenced: Callable[[str, int], None]) -> None:
        self._client = client
        self._on_fenced = on_fenced
        self._sequence: dict[str, tuple[int, int]] = {}
        self._queue: BatchQueue[Entry] = BatchQueue(
            "publisher", self._publish, max_batch=_MAX_BATCH
        )

    def publish(self, entry: Entry) -> None:
        self._queue.put(entry)

    def close(self, timeout: float) -> None:
        """Write what is queued, for at most `timeout` seconds."""
        self._queue.close(timeout)

    def _publish(self, batch: list[Entry]) -> None:
        entries = merge_tokens(batch)
        if entries:
            self._write(entries)

    def _write(self, entries: list[Entry]) -> None:
        numbered = [(JobKeys(entry.job_id), *self._place(entry)) for entry in entries]
        ends = [entry for entry in entries if is_terminal(entry.event)]
        is_retry = False
        while True:
            pipeline = self._client.pipeline(transaction=False)
            append_all(pipeline, numbered)
            for entry in ends:
                pipeline.set(JobKeys(entry.job_id).ended, b"1", ex=ENDED_LIFETIME)
            try:
                refusals: list[bytes] = pipeline.execute()[0]
                trouble = next(filter(_is_trouble, refusals), None)
            except redis.RedisError as error:
                trouble = str(error).encode()
            if trouble is None:
                break
            logger.warning("Redis takes no events, trying again: %s", trouble.decode())
            is_retry = True
            time.sleep(_RETRY_PAUSE)
        # After a retry a refusal may only say that the first try had arrived.
        if not is_retry:
            self._report_fenced(entries, refusals)

    def _place(self, entry: Entry) -> tuple[str, StreamEvent, int | None]:
        """Its id, what it says, and its stream's lifetime where this is an entry to set it.

        Entries count from 1 within each attempt; a job's last attempt is all that is kept.
        """
        attempt, number = self._sequence.get(entry.job_id, (entry.attempt, 0))
        number = number + 1 if attempt == entry.attempt else 1
        if is_end := is_terminal(entry.event):
            self._sequence.pop(entry.job_id, None)
        else:
            self._sequence[entry.job_id] = (entry.attempt, number)
        sets_lifetime = is_end or number % _LIFETIME_EVERY == 1
        return f"{entry.attempt}-{number}", entry.event, entry.lifetime if sets_lifetime else None

    def _report_fenced(self, entries: list[Entry], refusals: list[bytes]) -> None:
        for entry, refusal in zip(entries, refusals, strict=True):
            if refusal:
                logger.warning("job %s: attempt %s is out of date", entry.job_id, entry.attempt)
                self._sequence.pop(entry.job_id, None)
                self._on_fenced(entry.job_id, entry.attempt)


def _is_trouble(refusal: bytes) -> bool:
    """Whether Redis could not write, other than for an entry id that is out of date."""
    return bool(refusal) and b"equal or smaller" not in refusal


def merge_tokens(entries: list[Entry]) -> list[Entry]:
    """Joins the tokens of an answer that follow each other.

    The order within each answer is kept, and nothing is joined across another event of its job.
    """
    merged: list[Entry] = []
    last: dict[tuple[str, int], int] = {}
    for entry in entries:
        if not isinstance(entry.event, TokenEvent):
            last = {answer: at for answer, at in last.items() if answer[0] != entry.job_id}
            merged.append(entry)
            continue
        answer = (entry.job_id, entry.event.index)
        at = last.get(answer)
        previous = merged[at] if at is not None else None
        if (
            at is not None
            and previous is not None
            and isinstance(previous.event, TokenEvent)
            and previous.attempt == entry.attempt
        ):
            joined = previous.event.joined_by(entry.event)
            merged[at] = Entry(entry.job_id, entry.attempt, joined, entry.lifetime)
            continue
        last[answer] = len(merged)
        merged.append(entry)
    return merged
