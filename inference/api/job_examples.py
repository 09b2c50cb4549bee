"""Answers of the jobs API as its description shows them."""

from __future__ import annotations

from typing import Any

from drf_spectacular.utils import OpenApiExample

from inference.states import AttemptCause, JobState
from llamagpu.http.schema_words import call_example, page_example

_REQUEST = "req_5f0c2a7b9d1e4c6f8a0b2d4e"
_TIMELINE: dict[str, Any] = {
    "job_id": "0b2f6a4e-6f0e-4b43-9a51-3a0f3b1d8c55",
    "request_id": _REQUEST,
    "owner": "ada",
    "model": "smollm2-135m-instruct",
    "state": JobState.SUCCEEDED.value,
    "events": [
        {
            "stage": "queue",
            "at": "2026-11-24T20:00:00.000000+00:00",
            "duration": 0.012,
            "details": {},
        },
        {
            "stage": "attempt",
            "at": "2026-11-24T20:00:03.100000+00:00",
            "duration": None,
            "details": {
                "number": 2,
                "worker": "llamagpu@host",
                "cause": AttemptCause.ENGINE_DIED.value,
            },
        },
    ],
}
_REFUSAL = {
    "at": "2026-11-24T20:00:00.000000+00:00",
    "owner": "ada",
    "key": "VkOrapxl",
    "call": "POST /api/infer",
    "status": 429,
    "error": {
        "code": "RATE_LIMIT_EXCEEDED",
        "message": "100 inference requests a minute are allowed for you "
        "(inference_per_minute): come back in 12 s.",
        "details": {"limit": "inference_per_minute", "value": 100, "resets_in": 12},
    },
}
_JOB: dict[str, Any] = {
    "job_id": _TIMELINE["job_id"],
    "request_id": _REQUEST,
    "owner": "ada",
    "key": "VkOrapxl",
    "end_user": "",
    "kind": "generate",
    "model": "smollm2-135m-instruct",
    "batch_id": None,
    "state": JobState.SUCCEEDED.value,
    "is_streamed": False,
    "priority": 0,
    "attempt": 1,
    "worker": "llamagpu@host",
    "backend": "cpu",
    "created_at": "2026-11-24T20:00:00.000000+00:00",
    "deadline_at": "2026-11-24T20:05:00.000000+00:00",
    "started_at": "2026-11-24T20:00:00.012000+00:00",
    "finished_at": "2026-11-24T20:00:00.410000+00:00",
    "usage": {"prompt_tokens": 37, "completion_tokens": 8, "total_tokens": 45, "cached_tokens": 0},
    "timings": {
        "admission_time": 0.01,
        "queue_time": 0.013,
        "load_time": 0.0,
        "engine_wait": 0.001,
        "ttft": 0.06,
        "inference_time": 0.38,
    },
    "finish_reason": "stop",
    "error": None,
}
_CONTENT = {
    "is_kept": True,
    "prompt": {"text": "What is the capital of France?"},
    "params": {"stop": []},
    "output": "The capital of France is Paris.",
    "choices": None,
    "logprobs": None,
    "prompt_logprobs": None,
}
_WHOLE_JOB = {
    **_JOB,
    "reserved_tokens": 137,
    "plugins": ["pii_redactor"],
    "params": {"max_tokens": 100, "temperature": 0.0},
    "retention": {"policy": "full", "content_until": None, "content_removed_at": None},
    "content": _CONTENT,
}


def _answer(name: str, value: dict[str, Any]) -> OpenApiExample:
    return OpenApiExample(name, {"success": True, **value}, response_only=True)


JOBS_EXAMPLE = _answer("a page", page_example(_JOB))
JOB_EXAMPLE = _answer("a job as its owner sees it", {"job": _WHOLE_JOB})
CONTENT_EXAMPLES = [
    call_example({"reason": "The owner has asked us to look at a wrong answer."}),
    _answer("its texts", {"job_id": _JOB["job_id"], "content": _CONTENT}),
]
TIMELINE_EXAMPLE = _answer("an answer whose engine died once", _TIMELINE)
REQUEST_EXAMPLES = [
    _answer("a call with a job", {**page_example(_TIMELINE), "refusals": []}),
    _answer(
        "a call that was refused",
        {**page_example(_TIMELINE), "results": [], "refusals": [_REFUSAL]},
    ),
]
