"""Stage 7/7 of batches: rows become JSON."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Any

from inference.job_contents import public_error
from inference.models import Batch, BatchItem
from inference.states import JobState
from llamagpu.lib.error_codes import ErrorCode

_COUNTED = ("queued", "running", "succeeded", "failed", "cancelled", "expired")


def describe_item(item: BatchItem, *, for_owner: bool = True) -> dict[str, Any]:
    """The answer to one input, its error, or the state of what has not ended.

    Texts are for the batch's owner alone: others, Admins too, get the rest.
    """
    job = item.job
    read = _as_it_is if for_owner else public_error
    if item.error_code:
        return _failed(item, item.error_code, read(item.error_code, item.error_message))
    if job is None:
        return _failed(item, ErrorCode.NOT_FOUND, "The job of this input was removed.")
    if not JobState(job.state).is_final:
        return {"id": item.custom_id, "job_id": str(job.pk), "state": job.state}
    if job.state != JobState.SUCCEEDED:
        message = read(job.error_code, job.error_message)
        return _failed(item, job.error_code, message) | {"job_id": str(job.pk)}
    answer: dict[str, Any] = {"id": item.custom_id, "job_id": str(job.pk)}
    if for_owner:  # None, not an empty text, where it was there and was not to be kept
        answer["generated_text"] = None if job.content_removed_at else job.output
    return answer | {
        "tokens_generated": job.completion_tokens,
        "inference_time": job.inference_time,
        "finish_reason": job.finish_reason,
    }


def _as_it_is(code: str, message: str) -> str:
    return message


def _failed(item: BatchItem, code: str, message: str) -> dict[str, Any]:
    return {"id": item.custom_id, "error": {"code": str(code), "message": message}}


def describe_batch(batch: Any) -> dict[str, Any]:
    """How far a batch is. It must come from `with_counts`."""
    counts = {name: getattr(batch, f"num_{name}") for name in _COUNTED}
    live = counts["queued"] + counts["running"]
    done = counts["succeeded"]
    return {
        "batch_id": str(batch.pk),
        "owner": batch.owner.username,
        "model": batch.model.slug,
        "state": _state_of(batch, live),
        "async": batch.is_async,
        "created_at": batch.created_at.isoformat(),
        "deadline_at": batch.deadline_at.isoformat(),
        "items": batch.num_items,
        "items_pending": live,
        "items_processed": done,
        "items_failed": batch.num_items - live - done,
        "counts": {"refused": batch.num_refused, **counts},
    }


def _state_of(batch: Any, num_live: int) -> str:
    if batch.cancelled_at is not None:
        return "cancelling" if num_live else "cancelled"
    if not num_live:
        return "completed"
    return "queued" if num_live == batch.num_queued else "running"


def accepted_answer(batch: Batch, request_id: str, status_url: str) -> dict[str, Any]:
    """What a caller gets that does not wait."""
    return {
        "success": True,
        "batch_id": str(batch.pk),
        "status_url": status_url,
        "request_id": request_id,
    }


def whole_answer(batch: Batch, request: Any, request_id: str) -> dict[str, Any]:
    """All results in the order of the inputs. Reads the database."""
    items = list(batch.items.select_related("job").order_by("position"))
    jobs = [item.job for item in items if item.job is not None]
    succeeded = [job for job in jobs if job.state == JobState.SUCCEEDED]
    prompt_tokens = sum(job.prompt_tokens for job in jobs)
    completion_tokens = sum(job.completion_tokens for job in jobs)
    return {
        "success": True,
        "results": [describe_item(item) for item in items],
        "metadata": {
            "batch_id": str(batch.pk),
            "request_id": request_id,
            "timestamp": datetime.now(tz=UTC).isoformat(),
            "items_processed": len(succeeded),
            "items_failed": len(items) - len(succeeded),
            "total_processing_time": time.perf_counter() - request.received_at,
            "model_used": batch.model.slug,
            "backend": next((job.backend for job in succeeded), ""),
            "usage": {
                "prompt_tokens": prompt_tokens,
                "completion_tokens": completion_tokens,
                "total_tokens": prompt_tokens + completion_tokens,
                "cached_tokens": sum(job.cached_tokens for job in jobs),
            },
        },
    }
