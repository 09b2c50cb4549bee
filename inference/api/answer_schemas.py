"""What the calls that generate answer, in one piece, as a stream or for many inputs."""

from __future__ import annotations

from drf_spectacular.utils import OpenApiExample, OpenApiResponse

from inference.states import JobState
from llamagpu.http.schema_words import (
    ANY,
    EVENTS,
    FLAG,
    NUMBER,
    TEXT,
    TIME,
    UUID,
    WHOLE,
    answer,
    described,
    list_of,
    map_of,
    one_of,
    or_null,
    page,
    page_example,
    record,
    shown,
)

_LOGPROB = record(token=TEXT, logprob=NUMBER)
_LOGPROBS = list_of(
    record(token=TEXT, logprob=NUMBER, top_logprobs=list_of(_LOGPROB)),
)
_USAGE = record(
    ("is_estimated",),
    prompt_tokens=WHOLE,
    completion_tokens=WHOLE,
    total_tokens=WHOLE,
    cached_tokens=WHOLE,
    is_estimated=described(FLAG, "an upstream has not told its counts"),
)
_USAGE_EXAMPLE = {
    "prompt_tokens": 37, "completion_tokens": 8, "total_tokens": 45, "cached_tokens": 0,
}  # fmt: skip
_JOB = "0b2f6a4e-6f0e-4b43-9a51-3a0f3b1d8c55"
_BATCH = "6d1c1f7e-0d4c-4f0b-9b63-2f0c3f4f7a10"
_SENTENCE = "The capital of France is Paris."

ANSWER = shown(
    answer(
        result=record(
            ("logprobs",),
            generated_text=TEXT,
            tokens_generated=WHOLE,
            inference_time=described(NUMBER, "seconds of the engine"),
            model_used=TEXT,
            backend=TEXT,
            finish_reason=TEXT,
            logprobs=_LOGPROBS,
        ),
        metadata=record(
            request_id=TEXT,
            job_id=UUID,
            timestamp=TIME,
            processing_time=described(NUMBER, "seconds from the request to the answer"),
            queue_time=described(NUMBER, "seconds until the engine took it"),
            usage=_USAGE,
            plugins=list_of(ANY),
        ),
    ),
    {
        "success": True,
        "result": {
            "generated_text": _SENTENCE, "tokens_generated": 8, "inference_time": 0.21,
            "model_used": "smollm2-135m-instruct", "backend": "cpu", "finish_reason": "stop",
        },
        "metadata": {
            "request_id": "req_5f0c2a7b9d1e4c6f8a0b2d4e", "job_id": _JOB,
            "timestamp": "2026-11-24T20:00:00+00:00", "processing_time": 0.22,
            "queue_time": 0.004, "usage": _USAGE_EXAMPLE, "plugins": [],
        },
    },
)  # fmt: skip

STREAM = OpenApiResponse(
    response=EVENTS,
    description="Server-Sent Events. `id` is `<attempt>-<seq>`; the last event has `is_complete: true`, "
    "or is named `error`. `restart` says that the tokens come anew.",
    examples=[
        OpenApiExample(
            "stream",
            'id: 1-1\ndata: {"token": "Paris", "position": 0, "is_complete": false}\n\n'
            'id: 1-2\ndata: {"token": "", "position": 0, "is_complete": true, "final_text": "Paris", '
            '"finish_reason": "stop", "usage": {"prompt_tokens": 37, "completion_tokens": 1, '
            '"total_tokens": 38, "cached_tokens": 0}}\n\n',
            media_type="text/event-stream",
            response_only=True,
        )
    ],
)

_ITEM = record(
    (
        "job_id",
        "generated_text",
        "tokens_generated",
        "inference_time",
        "finish_reason",
        "error",
        "state",
    ),
    id=TEXT,
    job_id=UUID,
    generated_text=described(or_null(TEXT), "null: it was not to be kept"),
    tokens_generated=WHOLE,
    inference_time=or_null(NUMBER),
    finish_reason=TEXT,
    error=record(code=TEXT, message=TEXT),
    state=one_of(*(state.value for state in JobState if not state.is_final)),
)
_ITEM_EXAMPLE = {
    "id": "0", "job_id": _JOB, "generated_text": _SENTENCE, "tokens_generated": 8,
    "inference_time": 0.21, "finish_reason": "stop",
}  # fmt: skip
_BATCH_STATE = record(
    batch_id=UUID,
    owner=TEXT,
    model=TEXT,
    state=one_of("queued", "running", "completed", "cancelling", "cancelled"),
    **{"async": FLAG},
    created_at=TIME,
    deadline_at=TIME,
    items=WHOLE,
    items_pending=WHOLE,
    items_processed=WHOLE,
    items_failed=WHOLE,
    counts=map_of(WHOLE),
)
_BATCH_EXAMPLE = {
    "batch_id": _BATCH, "owner": "ada", "model": "smollm2-135m-instruct", "state": "running",
    "async": True, "created_at": "2026-11-24T20:00:00+00:00",
    "deadline_at": "2026-11-25T20:00:00+00:00", "items": 2, "items_pending": 1,
    "items_processed": 1, "items_failed": 0,
    "counts": {
        "refused": 0, "queued": 0, "running": 1, "succeeded": 1, "failed": 0, "cancelled": 0,
        "expired": 0,
    },
}  # fmt: skip

BATCH_ANSWERS = {
    200: shown(
        answer(
            results=list_of(_ITEM),
            metadata=record(
                batch_id=UUID,
                request_id=TEXT,
                timestamp=TIME,
                items_processed=WHOLE,
                items_failed=WHOLE,
                total_processing_time=NUMBER,
                model_used=TEXT,
                backend=TEXT,
                usage=_USAGE,
            ),
        ),
        {
            "success": True,
            "results": [
                _ITEM_EXAMPLE,
                {"id": "1", "error": {"code": "INVALID_INPUT", "message": "text: Is empty."}},
            ],
            "metadata": {
                "batch_id": _BATCH, "request_id": "req_5f0c2a7b9d1e4c6f8a0b2d4e",
                "timestamp": "2026-11-24T20:00:00+00:00", "items_processed": 1,
                "items_failed": 1, "total_processing_time": 0.4,
                "model_used": "smollm2-135m-instruct", "backend": "cpu", "usage": _USAGE_EXAMPLE,
            },
        },
    ),
    202: shown(
        answer(batch_id=UUID, status_url=TEXT, request_id=TEXT),
        {
            "success": True, "batch_id": _BATCH,
            "status_url": f"http://127.0.0.1:5000/api/batches/{_BATCH}",
            "request_id": "req_5f0c2a7b9d1e4c6f8a0b2d4e",
        },
        "With `async`: it has begun.",
    ),
}  # fmt: skip
BATCHES = shown(page(_BATCH_STATE), page_example(_BATCH_EXAMPLE))
BATCH = shown(
    page(_ITEM, batch=_BATCH_STATE), {**page_example(_ITEM_EXAMPLE), "batch": _BATCH_EXAMPLE}
)
BATCH_ALONE = shown(answer(batch=_BATCH_STATE), {"success": True, "batch": _BATCH_EXAMPLE})
