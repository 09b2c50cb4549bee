"""Calls with an `Idempotency-Key`: what the first one has made is what every later one gets.

A key's rows are written in the transaction that writes what it names, before anything else in it. So a
call of the same key at the same moment waits for that transaction, and then finds its jobs.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

from django.db import IntegrityError, transaction
from django.utils import timezone

from inference.models import IdempotentCall, InferenceJob
from inference.services.cancellation import cancel_left_job
from inference.states import JobState
from llamagpu.http.errors import AppError
from llamagpu.http.idempotency import HEADER
from llamagpu.lib.error_codes import ErrorCode

#: After that a key is new again.
LIFETIME = timedelta(hours=24)
#: Statuses that ask the caller to come again: an end with one of them answers no later call.
_PASSING = frozenset({429, 503})
_ATTEMPTS = 3
_BATCH = 500

Made = TypeVar("Made")


@dataclass(frozen=True, slots=True)
class CallKey:
    """A caller's key and the fingerprint of what it asks for under it."""

    owner: Any
    key: str
    fingerprint: str


class KeyIsUsedError(Exception):
    """Another call has written the key at the same moment: nothing was written, look again."""


def once(
    key: CallKey | None, find: Callable[[CallKey], Made | None], make: Callable[[], Made]
) -> tuple[Made, bool]:
    """What the key's first call has made, else what `make` makes now; and whether it was there.

    `make` writes the key by `use_key`. What it refuses is refused only where no first call is found.
    Raises AppError CONFLICT for a key that names another call.
    """
    if key is None:
        return make(), False
    for _ in range(_ATTEMPTS):
        if (found := find(key)) is not None:
            return found, True
        try:
            return make(), False
        except KeyIsUsedError:
            continue
        except AppError:
            if (found := find(key)) is None:
                raise
            return found, True
    raise AppError(
        ErrorCode.CONFLICT,
        f"{HEADER}: Other calls with this key begin and fail just now. Try again.",
        retry_after=1,
    )


def use_key(key: CallKey, num_parts: int = 1) -> list[IdempotentCall]:
    """Write a key's rows, first of all in the transaction that writes what it names.

    Raises KeyIsUsedError.
    """
    _expired().filter(owner=key.owner, key=key.key).delete()
    rows = [
        IdempotentCall(owner=key.owner, key=key.key, part=part, fingerprint=key.fingerprint)
        for part in range(num_parts)
    ]
    try:
        with transaction.atomic():  # a savepoint: the transaction around it stays usable
            return IdempotentCall.objects.bulk_create(rows)
    except IntegrityError as error:
        raise KeyIsUsedError from error


def find_jobs(key: CallKey) -> list[InferenceJob] | None:
    """The jobs of the key's first call, with their models; None where the key is free.

    A call that ended with an error that asks to come again leaves its key free: what still runs of it
    is cancelled. Raises AppError CONFLICT where the key names another call, or a job that was removed.
    """
    calls = _calls_of(key, "job__model")
    if not calls:
        return None
    jobs = [call.job for call in calls if hasattr(call, "job")]
    if len(jobs) < len(calls):
        raise _removed()
    if not any(map(_has_passing_end, jobs)):
        return jobs
    forget_key(key)
    for job in jobs:
        if not JobState(job.state).is_final:
            cancel_left_job(str(job.pk), "Another job of the same call has failed.")
    return None


def find_made(key: CallKey, relation: str, *related: str) -> Any | None:
    """The row that the key's first call has made, by the name of its relation to that call.

    None where the key is free. `related` are read along with it. Raises AppError CONFLICT as `find_jobs`.
    """
    calls = _calls_of(key, relation, *(f"{relation}__{name}" for name in related))
    if not calls:
        return None
    made = getattr(calls[0], relation, None)
    if made is None:
        raise _removed()
    return made


def forget_key(key: CallKey) -> None:
    """The call came to nothing: the same key may begin anew."""
    IdempotentCall.objects.filter(
        owner=key.owner, key=key.key, fingerprint=key.fingerprint
    ).delete()


def remove_expired(limit: int = 10_000) -> int:
    """Remove keys of more than 24 hours ago, at most `limit`; how many it was. Raises django.db.Error."""
    removed = 0
    while removed < limit:
        due = _expired().order_by("created_at").values_list("pk", flat=True)
        ids = list(due[: min(_BATCH, limit - removed)])
        if not ids:
            break
        with transaction.atomic():
            IdempotentCall.objects.filter(pk__in=ids).delete()
        removed += len(ids)
    return removed


def _expired() -> Any:
    return IdempotentCall.objects.filter(created_at__lt=timezone.now() - LIFETIME)


def _calls_of(key: CallKey, *related: str) -> Sequence[Any]:
    """Raises AppError CONFLICT where the key names another call."""
    living = IdempotentCall.objects.filter(
        owner=key.owner, key=key.key, created_at__gte=timezone.now() - LIFETIME
    )
    calls = list(living.select_related(*related).order_by("part"))
    if any(call.fingerprint != key.fingerprint for call in calls):
        raise AppError(
            ErrorCode.CONFLICT,
            f"{HEADER}: This key was used for another call: its address or its body differs.",
        )
    return calls


def _has_passing_end(job: InferenceJob) -> bool:
    return bool(job.error_code) and ErrorCode(job.error_code).http_status in _PASSING


def _removed() -> AppError:
    return AppError(
        ErrorCode.CONFLICT, f"{HEADER}: What this key's call has made was removed meanwhile."
    )
