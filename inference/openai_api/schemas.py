"""What the calls under `/v1` answer, in OpenAPI's words and with an example of each."""

from __future__ import annotations

from typing import Any

from drf_spectacular.utils import OpenApiResponse

from llamagpu.http.schema_words import (
    EVENTS,
    FLAG,
    NUMBER,
    OBJECT,
    TEXT,
    WHOLE,
    list_of,
    one_of,
    or_null,
    record,
    shown,
)

_USAGE = record(
    prompt_tokens=WHOLE,
    completion_tokens=WHOLE,
    total_tokens=WHOLE,
    prompt_tokens_details=record(cached_tokens=WHOLE),
)
_HEAD = {
    "id": TEXT, "created": WHOLE, "model": TEXT, "system_fingerprint": or_null(TEXT),
}  # fmt: skip
_REASON = one_of("stop", "length", "tool_calls")
_CALL = record(id=TEXT, type=one_of("function"), function=record(name=TEXT, arguments=TEXT))
_CHAT = record(
    **_HEAD,
    object=one_of("chat.completion"),
    choices=list_of(
        record(
            index=WHOLE,
            message=record(
                ("tool_calls",),
                role=one_of("assistant"),
                content=or_null(TEXT),
                tool_calls=list_of(_CALL),
            ),
            logprobs=or_null(OBJECT),
            finish_reason=_REASON,
        )
    ),
    usage=_USAGE,
)
_COMPLETION = record(
    **_HEAD,
    object=one_of("text_completion"),
    choices=list_of(
        record(
            index=WHOLE,
            text=TEXT,
            logprobs=or_null(
                record(
                    tokens=list_of(TEXT),
                    token_logprobs=list_of(or_null(NUMBER)),
                    top_logprobs=list_of(or_null(OBJECT)),
                    text_offset=list_of(WHOLE),
                )
            ),
            finish_reason=_REASON,
        )
    ),
    usage=_USAGE,
)
_EMBEDDINGS = record(
    object=one_of("list"),
    model=TEXT,
    data=list_of(
        record(
            object=one_of("embedding"),
            index=WHOLE,
            embedding={"oneOf": [list_of(NUMBER), TEXT]},
        )
    ),
    usage=record(prompt_tokens=WHOLE, total_tokens=WHOLE),
)
_MODEL = record(id=TEXT, object=one_of("model"), created=WHOLE, owned_by=TEXT)
_RESPONSE = record(
    id=TEXT,
    object=one_of("response"),
    created_at=WHOLE,
    status=one_of("queued", "in_progress", "completed", "incomplete", "failed", "cancelled"),
    model=TEXT,
    error=or_null(record(code=TEXT, message=TEXT)),
    incomplete_details=or_null(record(reason=TEXT)),
    instructions=or_null(TEXT),
    output=list_of(OBJECT),
    previous_response_id=or_null(TEXT),
    store=FLAG,
    usage=or_null(OBJECT),
)

_HEAD_EXAMPLE = {
    "id": "chatcmpl-3f1d", "created": 1790000000, "model": "smollm2-135m-instruct",
    "system_fingerprint": "fp_0a1b2c3d4e5f",
}  # fmt: skip
_USAGE_EXAMPLE = {
    "prompt_tokens": 37, "completion_tokens": 8, "total_tokens": 45,
    "prompt_tokens_details": {"cached_tokens": 0},
}  # fmt: skip


_STREAM = OpenApiResponse(response=EVENTS, description="Server-Sent Events, with stream.")


def _call(schema: dict[str, Any], example: dict[str, Any], *, streams: bool) -> dict[Any, Any]:
    answers = {(200, "application/json"): shown(schema, example)}
    if streams:
        answers[(200, "text/event-stream")] = _STREAM
    return answers


CHAT = _call(
    _CHAT,
    {
        **_HEAD_EXAMPLE,
        "object": "chat.completion",
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": "The capital of France is Paris."},
                "logprobs": None,
                "finish_reason": "stop",
            }
        ],
        "usage": _USAGE_EXAMPLE,
    },
    streams=True,
)
COMPLETION = _call(
    _COMPLETION,
    {
        **_HEAD_EXAMPLE,
        "id": "cmpl-3f1d",
        "object": "text_completion",
        "choices": [{"index": 0, "text": " a llama.", "logprobs": None, "finish_reason": "stop"}],
        "usage": _USAGE_EXAMPLE,
    },
    streams=True,
)
EMBEDDINGS = _call(
    _EMBEDDINGS,
    {
        "object": "list",
        "model": "smollm2-135m-instruct",
        "data": [{"object": "embedding", "index": 0, "embedding": [0.012, -0.094, 0.031]}],
        "usage": {"prompt_tokens": 4, "total_tokens": 4},
    },
    streams=False,
)
_RESPONSE_EXAMPLE = {
    "id": "resp_3f1d", "object": "response", "created_at": 1790000000, "status": "completed",
    "model": "smollm2-135m-instruct", "error": None, "incomplete_details": None,
    "instructions": None, "previous_response_id": None, "store": True,
    "output": [
        {
            "type": "message", "id": "msg_3f1d_0", "role": "assistant", "status": "completed",
            "content": [{"type": "output_text", "text": "Paris.", "annotations": []}],
        }
    ],
    "usage": {
        "input_tokens": 37, "input_tokens_details": {"cached_tokens": 0},
        "output_tokens": 3, "output_tokens_details": {"reasoning_tokens": 0}, "total_tokens": 40,
    },
}  # fmt: skip
RESPONSE = _call(_RESPONSE, _RESPONSE_EXAMPLE, streams=True)
STORED_RESPONSE = _call(_RESPONSE, _RESPONSE_EXAMPLE, streams=False)
REMOVED_RESPONSE = _call(
    record(id=TEXT, object=one_of("response"), deleted=FLAG),
    {"id": "resp_3f1d", "object": "response", "deleted": True},
    streams=False,
)
INPUT_ITEMS = _call(
    record(
        object=one_of("list"),
        data=list_of(OBJECT),
        first_id=or_null(TEXT),
        last_id=or_null(TEXT),
        has_more=FLAG,
    ),
    {
        "object": "list",
        "data": [
            {
                "id": "in_3f1d0000", "type": "message", "role": "user", "status": "completed",
                "content": [{"type": "input_text", "text": "What is the capital of France?"}],
            }
        ],
        "first_id": "in_3f1d0000", "last_id": "in_3f1d0000", "has_more": False,
    },
    streams=False,
)  # fmt: skip
_MODEL_EXAMPLE = {
    "id": "smollm2-135m-instruct", "object": "model", "created": 1790000000, "owned_by": "llamagpu",
}  # fmt: skip
MODEL = _call(_MODEL, _MODEL_EXAMPLE, streams=False)
MODELS = _call(
    record(object=one_of("list"), data=list_of(_MODEL)),
    {"object": "list", "data": [_MODEL_EXAMPLE]},
    streams=False,
)
