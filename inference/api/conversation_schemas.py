"""What the conversations API answers."""

from __future__ import annotations

from llamagpu.http.schema_words import (
    OBJECT,
    TEXT,
    TIME,
    UUID,
    WHOLE,
    answer,
    list_of,
    one_of,
    page,
    page_example,
    record,
    shown,
)

_HEADING = {
    "id": UUID, "title": TEXT, "model": TEXT, "num_messages": WHOLE, "version": WHOLE,
    "created_at": TIME, "updated_at": TIME,
}  # fmt: skip
_TURN = record(
    ("model", "job_id"),
    role=one_of("system", "user", "assistant"),
    content=TEXT,
    model=TEXT,
    job_id=UUID,
)
_EXAMPLE = {
    "id": "6d1c1f7e-0d4c-4f0b-9b63-2f0c3f4f7a10", "title": "Capitals",
    "model": "smollm2-135m-instruct", "num_messages": 2, "version": 3,
    "created_at": "2026-11-24T20:00:00+00:00", "updated_at": "2026-11-24T20:01:00+00:00",
}  # fmt: skip
_TURNS = [
    {"role": "user", "content": "What is the capital of France?"},
    {"role": "assistant", "content": "Paris.", "model": "smollm2-135m-instruct"},
]

CONVERSATION = shown(
    answer(conversation=record(**_HEADING, settings=OBJECT, messages=list_of(_TURN))),
    {
        "success": True,
        "conversation": _EXAMPLE | {"settings": {"temperature": 0.7}, "messages": _TURNS},
    },
)
CONVERSATIONS = shown(page(record(**_HEADING)), page_example(_EXAMPLE))
FORGOTTEN = shown(answer(removed=WHOLE), {"success": True, "removed": 1})
