"""Reads a job's stream again, from where an earlier reader stopped; from its row once it is gone.

A reader must lose nothing and get nothing twice. Entries count without gaps, so one that is missing
(Redis lost its memory) shows; what cannot be made good token by token is made good as a whole: a
`restart`, which tells the reader to drop what it has, and the terminal event with the whole text.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta
from enum import Enum, auto
from uuid import UUID

import redis
from asgiref.sync import sync_to_async
from django.conf import settings
from django.utils import timezone

from accounts.rights_watch import Holder, watch_rights
from inference.models import InferenceJob
from inference.protocol import DoneEvent, ErrorEvent, GenerationJob, RestartEvent, Usage
from inference.readers import reading
from inference.services.answers import done_event_of
from inference.states import JobState
from inference.stream import Events, JobKeys, Placed, Position, is_terminal, placed_events
from inference.waiting import events_or_verdict, leave
from llamagpu.http.database import release_connections
from llamagpu.http.errors import AppError
from llamagpu.lib.error_codes import ErrorCode
from llamagpu.lib.redis_client import sync_client

# A reader to whom nothing comes asks the row now and then: the stream may be lost, its end included.
_QUIET_LOOKS = 3
_END_IS_PUBLISHED = timedelta(seconds=5)


class Source(Enum):
    """Where what a reader lacks is to be found."""

    STREAM = auto()
    ROW = auto()
    NOWHERE = auto()


def find_source(job: InferenceJob, after: Position) -> Source:
    """Where what stands after `after` is found; NOWHERE: the reader has everything.

    Raises AppError CONFLICT for texts that are not kept, and BACKEND_UNAVAILABLE where Redis is away.
    """
    try:
        top = sync_client(settings.REDIS_URL).xrevrange(JobKeys(str(job.pk)).events, count=1)
    except redis.RedisError as error:
        if not JobState(job.state).is_final:
            raise AppError(
                ErrorCode.BACKEND_UNAVAILABLE, "The job's stream cannot be read now.", retry_after=5
            ) from error
        top = []
    if top:
        ((place, event),) = placed_events(top)
        has_all = after > place or (after == place and is_terminal(event))
        return Source.NOWHERE if has_all else Source.STREAM
    if after >= _end_of(job):
        return Source.NOWHERE
    if not JobState(job.state).is_final:
        return Source.STREAM
    if job.content_removed_at is not None:
        raise AppError(ErrorCode.CONFLICT, "The job's texts were not kept: its owner's policy.")
    return Source.ROW


def replay(job: InferenceJob, after: Position) -> Iterable[Placed]:
    """The end of an ended job from its row, for a reader who is at `after`. `job.model` is read."""
    event: DoneEvent | ErrorEvent
    if job.state == JobState.SUCCEEDED:
        event = done_event_of(job)
    else:
        usage = Usage(job.prompt_tokens, job.completion_tokens, job.cached_tokens)
        event = ErrorEvent(ErrorCode(job.error_code), job.error_message, usage)
    return _as_a_whole(event, after, _end_of(job), job.attempt)


async def replay_events(job: InferenceJob, after: Position) -> Events:
    """The same for who reads a stream."""
    for item in replay(job, after):
        yield item


async def resume(job: GenerationJob, after: Position, holder: Holder) -> Events:
    """Yields what stands after `after` up to exactly one terminal event; None when there is no news.

    Ends with an error once `holder` has lost the right to it. A reader who leaves cancels nothing: a
    resumable job that nobody else reads has its grace from then on.
    """
    progress, num_quiet = _Progress(after), 0
    with watch_rights(holder) as rights, reading(job.job_id) as reader:
        try:
            async for item in events_or_verdict(job, after):
                if rights.lost is not None:
                    yield progress.reader_at, ErrorEvent(rights.lost.code, rights.lost.message)
                    return
                num_quiet = num_quiet + 1 if item is None else 0
                news: Iterable[Placed | None] = (None,)
                if item is not None:
                    news = progress.take(item)
                elif num_quiet % _QUIET_LOOKS == 0 and (row := await _ended_row(job.job_id)):
                    news = progress.end(replay(row, progress.reader_at))
                for placed in news:
                    yield placed
                if progress.has_ended:
                    return
        finally:
            if not progress.has_ended and job.reader_grace and reader.is_alone:
                leave(job.job_id, job.reader_grace)


class _Progress:
    """How far a reader has come. `is_whole` is false while it lacks something before `at`."""

    def __init__(self, after: Position) -> None:
        self.reader_at = self._at = after
        self.has_ended = False
        self._is_whole = True

    def take(self, item: Placed) -> Iterable[Placed]:
        """What the reader gets now that `item` has come."""
        place, event = item
        follows = self._at.is_followed_by(place)
        self._is_whole = isinstance(event, RestartEvent) or (self._is_whole and follows)
        self._at = place
        if self._is_whole:
            self.reader_at = place
        if isinstance(event, DoneEvent | ErrorEvent):
            whole = _as_a_whole(event, self.reader_at, place, place.attempt)
            return self.end((item,) if self._is_whole else whole)
        return (item,) if self._is_whole else ()

    def end(self, news: Iterable[Placed]) -> Iterable[Placed]:
        """The last ones."""
        self.has_ended = True
        return news


async def _ended_row(job_id: str) -> InferenceJob | None:
    """The row of a job that has ended long enough ago for its stream to say so, had it one."""

    def find() -> InferenceJob | None:
        moment = timezone.now() - _END_IS_PUBLISHED
        try:
            ended = InferenceJob.objects.filter(pk=UUID(job_id), finished_at__lt=moment)
            return ended.select_related("model").first()
        finally:
            release_connections()

    return await sync_to_async(find, thread_sensitive=False)()


def _end_of(job: InferenceJob) -> Position:
    """The place of the end in a stream that is made up from the row: beyond all that was in the real one."""
    return Position(job.attempt + 1, 1)


def _as_a_whole(
    event: DoneEvent | ErrorEvent, reader_at: Position, end: Position, attempt: int
) -> Iterable[Placed]:
    """An end for a reader who lacks what came before. One who comes back in between gets it again."""
    if isinstance(event, DoneEvent) and reader_at != Position():
        yield reader_at, RestartEvent(attempt)
    yield end, event
