"""Rows of jobs as JSON: metadata for all who may see a job, words for its owner alone."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from inference.job_contents import WORDED, public_error
from inference.job_timeline import TimelineEvent, timeline_of
from inference.models import InferenceJob

_MEASURED = (
    "admission_time",
    "queue_time",
    "load_time",
    "engine_wait",
    "ttft",
    "inference_time",
)


def describe_job(job: InferenceJob) -> dict[str, Any]:
    """What a list tells of a job: nothing that was asked or answered."""
    item = getattr(job, "batch_item", None)
    return {
        "job_id": str(job.pk),
        "request_id": job.request_id,
        "owner": job.owner.username,
        "key": job.api_key.prefix if job.api_key else None,
        "end_user": job.end_user,
        "kind": job.kind,
        "model": job.model.slug,
        "batch_id": str(item.batch_id) if item else None,
        "state": job.state,
        "is_streamed": job.is_streamed,
        "priority": job.priority,
        "attempt": job.attempt,
        "worker": job.worker,
        "backend": job.backend,
        "created_at": _iso(job.created_at),
        "deadline_at": _iso(job.deadline_at),
        "started_at": _iso(job.started_at),
        "finished_at": _iso(job.finished_at),
        "usage": {
            "prompt_tokens": job.prompt_tokens,
            "completion_tokens": job.completion_tokens,
            "total_tokens": job.prompt_tokens + job.completion_tokens,
            "cached_tokens": job.cached_tokens,
        },
        "timings": {name: getattr(job, name) for name in _MEASURED},
        "finish_reason": job.finish_reason or None,
        "error": _error(job, public_error(job.error_code, job.error_message)),
    }


def describe_whole_job(job: InferenceJob, *, with_content: bool) -> dict[str, Any]:
    """As `describe_job`, with its parameters and what is kept; the words only `with_content`."""
    return describe_job(job) | {
        "reserved_tokens": job.reserved_tokens,
        "plugins": _plugins(job),
        "params": {name: value for name, value in job.params.items() if name not in WORDED},
        "retention": {
            "policy": job.retention or None,
            "content_until": _iso(job.content_until),
            "content_removed_at": _iso(job.content_removed_at),
        },
        "content": describe_content(job) if with_content else None,
        **({"error": _error(job, job.error_message)} if with_content else {}),
    }


def _plugins(job: InferenceJob) -> list[str]:
    """Those that changed something; the timeline says on which side of the model."""
    acted = job.plugins or {}
    return list(dict.fromkeys([*acted.get("before", ()), *acted.get("after", ())]))


def _error(job: InferenceJob, message: str) -> dict[str, str] | None:
    return {"code": job.error_code, "message": message} if job.error_code else None


def describe_content(job: InferenceJob) -> dict[str, Any]:
    """What was asked and answered, or the digests that stayed of it."""
    if job.content_removed_at is not None:
        return {"is_kept": False, "digests": job.content_digests}
    answer = job.answer or {}
    return {
        "is_kept": True,
        "prompt": {name: value for name, value in job.prompt.items() if value not in (None, [])},
        "params": {name: job.params[name] for name in WORDED if job.params.get(name)},
        "output": job.output,
        "choices": answer.get("choices"),
        "logprobs": answer.get("logprobs"),
        "prompt_logprobs": answer.get("prompt_logprobs"),
    }


def describe_timeline(job: InferenceJob) -> dict[str, Any]:
    """The stages of a job in order; no text of anybody's."""
    return {
        "job_id": str(job.pk),
        "request_id": job.request_id,
        "owner": job.owner.username,
        "model": job.model.slug,
        "state": job.state,
        "events": [_describe_event(event) for event in timeline_of(job)],
    }


def _describe_event(event: TimelineEvent) -> dict[str, Any]:
    details = {
        name: _iso(value) if isinstance(value, datetime) else value
        for name, value in event.details.items()
    }
    return {
        "stage": event.stage,
        "at": _iso(event.at),
        "duration": event.duration,
        "details": details,
    }


def _iso(moment: datetime | None) -> str | None:
    return None if moment is None else moment.isoformat()
