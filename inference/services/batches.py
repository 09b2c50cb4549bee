"""Writes of batches: many jobs in one transaction, rung for with few messages, ended together.

A batch is let in or refused as a whole: tokens and jobs of all its items must fit the limits. What is
wrong with a single input is that input's affair and stands in its row.
"""

from __future__ import annotations

import logging
import time
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import redis
from django.conf import settings
from django.db import transaction
from django.utils import timezone

from accounts.job_claims import JobClaim
from accounts.services import quotas
from inference import wire
from inference.batch_room import batch_width
from inference.call_trace import note_admission
from inference.dispatch import BrokerUnavailableError, ring_many
from inference.models import Batch, BatchItem, InferenceJob, Model
from inference.presence import WorkerReport
from inference.protocol import ErrorEvent, Prompt, SamplingParams
from inference.routing import queue_for
from inference.services.answers import storable_text
from inference.services.idempotency import CallKey, forget_key, use_key
from inference.services.settlement import published_usage, settle_jobs, settlement_of
from inference.services.submission import PromptTokens, reserve_minutes, seconds_since
from inference.stream import JobKeys
from llamagpu.http.errors import AppError
from llamagpu.lib.error_codes import ErrorCode
from llamagpu.lib.redis_client import sync_client
from monitoring.configuration import current

logger = logging.getLogger(__name__)

#: Most jobs that one message names: a worker that dies with one loses no more of a batch.
MAX_CHUNK = 128
_CANCEL_LIFETIME = 3600
_MAX_ERROR_LENGTH = 500


@dataclass(frozen=True, slots=True)
class Work:
    """An input that can be run."""

    prompt: Prompt
    params: SamplingParams
    tokens: PromptTokens

    @property
    def most_tokens(self) -> int:
        return self.tokens.most + self.params.max_tokens * self.params.n


@dataclass(frozen=True, slots=True)
class Entry:
    """One input of a batch with the caller's name for it, or why it cannot be run."""

    custom_id: str
    outcome: Work | AppError


def submit_batch(
    *,
    owner: Any,
    api_key: Any,
    model: Model,
    entries: Sequence[Entry],
    priority: int,
    timeout: float,
    request_id: str,
    is_async: bool,
    workers: Sequence[WorkerReport],
    received_at: float | None = None,
    key: CallKey | None = None,
) -> Batch:
    """Set the tokens of all items aside and write all rows, in one transaction; then ring.

    `received_at` is when the call came in, on the clock of `time.perf_counter`.

    Raises AppError RATE_LIMIT_EXCEEDED and QUOTA_EXCEEDED and KeyIsUsedError, with nothing written, and
    BACKEND_UNAVAILABLE when the broker is away; the jobs' rows then say so, and the key is free.
    """
    now, began = timezone.now(), time.time()
    claims = {
        place: JobClaim(uuid.uuid4(), owner, api_key, model.slug, entry.outcome.most_tokens)
        for place, entry in enumerate(entries)
        if isinstance(entry.outcome, Work)
    }
    batch = Batch(
        owner=owner,
        api_key=api_key,
        model=model,
        request_id=request_id,
        is_async=is_async,
        created_at=now,
        deadline_at=now + timedelta(seconds=timeout),
    )
    shared = {"priority": priority, "admission_time": seconds_since(received_at)}
    _set_aside_and_write(batch, entries, claims, shared, key)
    trace = note_admission(len(claims), began)
    try:
        _ring_or_settle([str(claim.job_id) for claim in claims.values()], model, workers, trace)
    except AppError:
        if key:
            forget_key(key)
        raise
    return batch


def _set_aside_and_write(
    batch: Batch,
    entries: Sequence[Entry],
    claims: Mapping[int, JobClaim],
    shared: Mapping[str, Any],
    key: CallKey | None,
) -> None:
    """Tokens, key and rows: all of them or none."""
    reserve_minutes(list(claims.values()))
    try:
        with transaction.atomic():
            if key:
                (batch.call,) = use_key(key)
            quotas.reserve_all(list(claims.values()))
            batch.save(force_insert=True)
            _write_rows(batch, entries, claims, shared)
    except Exception:
        for claim in claims.values():
            quotas.release_minute(claim)
        raise


def _write_rows(
    batch: Batch,
    entries: Sequence[Entry],
    claims: Mapping[int, JobClaim],
    shared: Mapping[str, Any],
) -> None:
    """`shared` are columns that all jobs have alike."""
    first = next(iter(claims.values()), None)
    shared = {**shared, "limits": quotas.limits_that_hold(first) if first else []}
    jobs = {
        place: _job_of(batch, entry.outcome, claims[place], _shared_at(batch, place, shared))
        for place, entry in enumerate(entries)
        if isinstance(entry.outcome, Work)
    }
    InferenceJob.objects.bulk_create(jobs.values())
    BatchItem.objects.bulk_create(
        _item_of(batch, place, entry, jobs.get(place)) for place, entry in enumerate(entries)
    )


def _job_of(batch: Batch, work: Work, claim: JobClaim, shared: Mapping[str, Any]) -> InferenceJob:
    return InferenceJob(
        id=claim.job_id,
        owner=batch.owner,
        api_key=batch.api_key,
        model=batch.model,
        request_id=batch.request_id,
        **shared,
        prompt=wire.to_builtins(work.prompt),
        params=wire.to_builtins(work.params),
        prompt_tokens=work.tokens.counted,
        reserved_tokens=claim.tokens,
        deadline_at=batch.deadline_at,
    )


def _shared_at(batch: Batch, place: int, shared: Mapping[str, Any]) -> dict[str, Any]:
    """With a moment of its own for each job: lists follow the order of the inputs, page by page."""
    return {**shared, "created_at": batch.created_at + timedelta(microseconds=place)}


def _item_of(batch: Batch, place: int, entry: Entry, job: InferenceJob | None) -> BatchItem:
    item = BatchItem(batch=batch, position=place, custom_id=entry.custom_id, job=job)
    if isinstance(entry.outcome, AppError):
        item.error_code = str(entry.outcome.code)
        item.error_message = storable_text(entry.outcome.message[:_MAX_ERROR_LENGTH])
    return item


def chunks_of(
    job_ids: Sequence[str], workers: Sequence[WorkerReport], slug: str = ""
) -> list[list[str]]:
    """One message's jobs each: a share for each worker, by the room that each has.

    Any worker may take a message, so all are of one size: what the one with the least room has of all
    room, but no less than it can run at once, and never more than `MAX_CHUNK`.
    """
    rooms = [_room_on(worker, slug) for worker in workers] or [current().num_slots]
    share = -(-len(job_ids) * min(rooms) // sum(rooms))
    size = min(MAX_CHUNK, max(min(rooms), share))
    return [list(job_ids[start : start + size]) for start in range(0, len(job_ids), size)]


def _room_on(worker: WorkerReport, slug: str) -> int:
    """What a worker's engines can run of a batch now; one that has none will get all its slots."""
    engines = [engine for engine in worker.engines if engine.model == slug]
    busy = sum(engine.num_running + engine.num_waiting for engine in engines)
    return (
        batch_width(
            engines,
            num_others=busy,
            num_batch_jobs=0,
            memory_available=worker.memory_available,
        )
        or current().num_slots
    )


def _ring_or_settle(
    job_ids: Sequence[str], model: Model, workers: Sequence[WorkerReport], traceparent: str
) -> None:
    try:
        for chunk in chunks_of(job_ids, workers, model.slug):
            ring_many(chunk, queue_for(model), traceparent)
    except BrokerUnavailableError as error:
        logger.warning("a batch could not be queued: %s", error)
        refusal = AppError(
            ErrorCode.BACKEND_UNAVAILABLE, "The message broker does not answer.", retry_after=5
        )
        event = ErrorEvent(refusal.code, refusal.message)
        settle_jobs([settlement_of(job_id, 1, event) for job_id in job_ids])
        raise refusal from error


def cancel_batch(*, batch: Batch) -> None:
    """End what has not ended: at once what no worker has begun, the rest within about a second.

    A batch that has ended stays as it is. Raises AppError BACKEND_UNAVAILABLE where Redis is away.
    """
    live = _live_jobs(batch)
    if not live:
        return
    try:
        _mark(live)
    except redis.RedisError as error:
        raise AppError(
            ErrorCode.BACKEND_UNAVAILABLE, "The message broker does not answer.", retry_after=5
        ) from error
    _note_cancelled(batch, timezone.now())
    _settle(
        [row for row in live if not row.started_at], ErrorCode.CANCELLED, "The job was cancelled."
    )


def abandon_batch(*, batch: Batch, code: ErrorCode, message: str) -> None:
    """End, from the web process, what no worker looks after any more."""
    live = _live_jobs(batch)
    try:
        _mark(live)
    except redis.RedisError as error:
        logger.warning("batch %s: no cancel marks could be set: %s", batch.pk, error)
    _settle(live, code, message)


def _live_jobs(batch: Batch) -> list[InferenceJob]:
    return list(InferenceJob.objects.live().filter(batch_item__batch=batch).order_by())


def _note_cancelled(batch: Batch, now: datetime) -> None:
    Batch.objects.filter(pk=batch.pk, cancelled_at=None).update(cancelled_at=now)


def _mark(jobs: Sequence[InferenceJob]) -> None:
    """Tell the workers. Raises RedisError."""
    pipeline = sync_client(settings.REDIS_URL).pipeline(transaction=False)
    for row in jobs:
        pipeline.set(JobKeys(str(row.pk)).cancel, b"1", ex=_CANCEL_LIFETIME)
    pipeline.execute()


def _settle(jobs: Sequence[InferenceJob], code: ErrorCode, message: str) -> None:
    settle_jobs(
        [
            settlement_of(str(row.pk), row.attempt, ErrorEvent(code, message, published_usage(row)))
            for row in jobs
        ]
    )
