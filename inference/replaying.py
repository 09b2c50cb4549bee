"""The events of a job that an earlier call has made, for a later one with the same `Idempotency-Key`."""

from __future__ import annotations

from collections.abc import Iterator

from accounts.rights_watch import Holder
from inference.models import InferenceJob
from inference.protocol import DoneEvent, TokenEvent
from inference.resuming import Source, find_source, replay, resume
from inference.services.attempts import message_for
from inference.states import JobKind, JobState
from inference.stream import Events, Position
from llamagpu.http.errors import AppError
from llamagpu.lib.error_codes import ErrorCode


def events_again(row: InferenceJob, holder: Holder) -> Events:
    """All of them, as `inference.waiting.follow` yields them: from the stream, else from the row.

    Raises AppError CONFLICT where what was answered is not kept, and BACKEND_UNAVAILABLE.
    """
    if find_source(row, Position()) is Source.STREAM:
        return resume(message_for(row), Position(), holder)
    if row.kind == JobKind.EMBED and row.state == JobState.SUCCEEDED and not _has_vectors(row):
        raise AppError(ErrorCode.CONFLICT, "The vectors of this key's call are not kept any more.")
    return _events_of_row(row)


def _has_vectors(row: InferenceJob) -> bool:
    return bool((row.answer or {}).get("embeddings"))


async def _events_of_row(row: InferenceJob) -> Events:
    for place, event in replay(row, Position()):
        if isinstance(event, DoneEvent) and row.kind == JobKind.GENERATE:
            for token in _tokens(event):
                yield Position(row.attempt, 1), token
        yield place, event


def _tokens(done: DoneEvent) -> Iterator[TokenEvent]:
    """Each answer in one piece, for who puts it together from pieces."""
    if not done.choices:
        last = max(0, done.usage.completion_tokens - 1)
        yield TokenEvent(done.text, last, done.logprobs or ())
    for choice in done.choices:
        yield TokenEvent(choice.text, 0, choice.logprobs or (), choice.index)
