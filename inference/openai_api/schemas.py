"""What the calls under `/v1` answer, in OpenAPI's words and with an example of each."""

from __future__ import annotations

from typing import Any

from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiExample, OpenApiResponse

_TEXT, _WHOLE, _NUMBER = {"type": "string"}, {"type": "integer"}, {"type": "number"}
_OBJECT = {"type": "object"}


def record(optional: tuple[str, ...] = (), /, **properties: Any) -> dict[str, Any]:
    """An object with these properties, all required but the optional ones."""
    required = [name for name in properties if name not in optional]
    return {"type": "object", "properties": properties, "required": required}


def list_of(items: dict[str, Any]) -> dict[str, Any]:
    return {"type": "array", "items": items}


def or_null(schema: dict[str, Any]) -> dict[str, Any]:
    return {"oneOf": [schema, {"type": "null"}]}


def one_of(*values: str) -> dict[str, Any]:
    return {"type": "string", "enum": list(values)}


ERROR = record(
    error=record(message=_TEXT, type=_TEXT, param=or_null(_TEXT), code=_TEXT),
)
_USAGE = record(
    prompt_tokens=_WHOLE,
    completion_tokens=_WHOLE,
    total_tokens=_WHOLE,
    prompt_tokens_details=record(cached_tokens=_WHOLE),
)
_HEAD = {
    "id": _TEXT, "created": _WHOLE, "model": _TEXT, "system_fingerprint": or_null(_TEXT),
}  # fmt: skip
_REASON = one_of("stop", "length", "tool_calls")
_CALL = record(id=_TEXT, type=one_of("function"), function=record(name=_TEXT, arguments=_TEXT))
_CHAT = record(
    **_HEAD,
    object=one_of("chat.completion"),
    choices=list_of(
        record(
            index=_WHOLE,
            message=record(
                ("tool_calls",),
                role=one_of("assistant"),
                content=or_null(_TEXT),
                tool_calls=list_of(_CALL),
            ),
            logprobs=or_null(_OBJECT),
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
            index=_WHOLE,
            text=_TEXT,
            logprobs=or_null(
                record(
                    tokens=list_of(_TEXT),
                    token_logprobs=list_of(or_null(_NUMBER)),
                    top_logprobs=list_of(or_null(_OBJECT)),
                    text_offset=list_of(_WHOLE),
                )
            ),
            finish_reason=_REASON,
        )
    ),
    usage=_USAGE,
)
_EMBEDDINGS = record(
    object=one_of("list"),
    model=_TEXT,
    data=list_of(
        record(
            object=one_of("embedding"),
            index=_WHOLE,
            embedding={"oneOf": [list_of(_NUMBER), _TEXT]},
        )
    ),
    usage=record(prompt_tokens=_WHOLE, total_tokens=_WHOLE),
)
_MODEL = record(id=_TEXT, object=one_of("model"), created=_WHOLE, owned_by=_TEXT)
_RESPONSE = record(
    id=_TEXT,
    object=one_of("response"),
    created_at=_WHOLE,
    status=one_of("queued", "in_progress", "completed", "incomplete", "failed", "cancelled"),
    model=_TEXT,
    error=or_null(record(code=_TEXT, message=_TEXT)),
    incomplete_details=or_null(record(reason=_TEXT)),
    instructions=or_null(_TEXT),
    output=list_of(_OBJECT),
    previous_response_id=or_null(_TEXT),
    store={"type": "boolean"},
    usage=or_null(_OBJECT),
)

_HEAD_EXAMPLE = {
    "id": "chatcmpl-3f1d", "created": 1790000000, "model": "smollm2-135m-instruct",
    "system_fingerprint": "fp_0a1b2c3d4e5f",
}  # fmt: skip
_USAGE_EXAMPLE = {
    "prompt_tokens": 37, "completion_tokens": 8, "total_tokens": 45,
    "prompt_tokens_details": {"cached_tokens": 0},
}  # fmt: skip


def answered(schema: dict[str, Any], example: dict[str, Any]) -> OpenApiResponse:
    return OpenApiResponse(
        response=schema, examples=[OpenApiExample("answer", example, response_only=True)]
    )


_STREAM = OpenApiResponse(response=OpenApiTypes.STR, description="Server-Sent Events, with stream.")
REFUSED = {
    (status, "application/json"): OpenApiResponse(response=ERROR, description=reason)
    for status, reason in {
        400: "A field is wrong; `param` names it.",
        401: "No key, or one that is not known.",
        403: "The key or its owner may not do this.",
        404: "No such model, or nothing else of that name.",
        409: "Contradicts something that was done before.",
        413: "The body is too large.",
        415: "The body is no JSON.",
        429: "Too many requests or tokens; `Retry-After` says when to come again.",
        500: "The job failed.",
        503: "No worker, no memory, or something behind the server is away.",
        504: "The job did not end in time.",
    }.items()
}


def _call(schema: dict[str, Any], example: dict[str, Any], *, streams: bool) -> dict[Any, Any]:
    answers = {(200, "application/json"): answered(schema, example)}
    if streams:
        answers[(200, "text/event-stream")] = _STREAM
    return {**answers, **REFUSED}


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
    record(id=_TEXT, object=one_of("response"), deleted={"type": "boolean"}),
    {"id": "resp_3f1d", "object": "response", "deleted": True},
    streams=False,
)
INPUT_ITEMS = _call(
    record(
        object=one_of("list"),
        data=list_of(_OBJECT),
        first_id=or_null(_TEXT),
        last_id=or_null(_TEXT),
        has_more={"type": "boolean"},
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
