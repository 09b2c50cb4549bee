"""Responses that were stored: read again, gone on from."""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterator
from typing import Any

from accounts.rights_watch import Holder
from inference.models import StoredResponse
from inference.openai_api.response_shape import ItemBuilder, ResponseAnswer
from inference.openai_api.submission import Submitted
from inference.openai_api.tool_fields import ToolMode, ToolUse
from inference.protocol import ChatMessage, DoneEvent, ToolCall
from inference.services.answers import done_event_of
from inference.services.attempts import message_for
from inference.services.responses import keep_response
from inference.states import JobState
from llamagpu.http.errors import AppError
from llamagpu.http.permissions import INFER
from llamagpu.lib.error_codes import ErrorCode

_ID = re.compile(r"resp_([0-9a-f]{32})")


def find_response(user: Any, key: Any, name: str) -> StoredResponse:
    """Raises AppError NOT_FOUND, also for another's and for one whose texts are gone."""
    match = _ID.fullmatch(name)
    rows = StoredResponse.objects.visible_to(user).allowed_by(key).select_related("job__model")
    rows = rows.filter(job__content_removed_at=None)
    found = rows.filter(pk=uuid.UUID(match[1])).first() if match else None
    if found is None:
        raise AppError(ErrorCode.NOT_FOUND, f"There is no stored response '{name[:80]}'.")
    return found


def store(submitted: Submitted, answer: ResponseAnswer) -> None:
    """Keep the answer that will be, where its call wants that."""
    if answer.settings["store"]:
        use = {"mode": str(answer.use.mode), "tools": list(answer.use.tools)}
        job_id = submitted.jobs[0].job_id
        keep_response(job_id=job_id, settings=answer.settings, tool_use=use)


def describe_response(row: StoredResponse) -> dict[str, Any]:
    """The answer as it was given, or how far it is."""
    job = row.job
    answer = _answer_of(row)
    submitted = Submitted((message_for(job),), Holder(job.owner_id, INFER))
    if job.state == JobState.SUCCEEDED:
        return answer.body(submitted, [done_event_of(job)])
    body = answer.response(submitted, [], None)
    if not JobState(job.state).is_final:
        return body | {"status": "queued" if job.state == JobState.QUEUED else "in_progress"}
    if job.state == JobState.CANCELLED:
        return body | {"status": "cancelled"}
    error = {"code": job.error_code.lower(), "message": job.error_message}
    return body | {"status": "failed", "error": error}


def conversation_of(row: StoredResponse) -> tuple[ChatMessage, ...]:
    """The turns up to and with the answer, without the instructions, which are each call's own.

    Raises AppError INVALID_INPUT where there is no answer.
    """
    if row.job.state != JobState.SUCCEEDED:
        raise AppError(
            ErrorCode.INVALID_INPUT,
            f"previous_response_id: the response is {row.job.state}, not completed.",
        )
    return (*_turns_of(row), _answer_turn(row, done_event_of(row.job)))


def input_items(row: StoredResponse) -> list[dict[str, Any]]:
    """What the model was given besides instructions, oldest first, each with an id of its own."""
    hex_id = row.job.pk.hex
    fields = [item for turn in _turns_of(row) for item in _items_of(turn)]
    return [
        {"id": f"in_{hex_id}{number:04x}", **item, "status": "completed"}
        for number, item in enumerate(fields)
    ]


def _answer_of(row: StoredResponse) -> ResponseAnswer:
    fields = row.tool_use
    use = ToolUse(ToolMode(fields["mode"]), tuple(fields["tools"]))
    return ResponseAnswer(row.settings, use)


def _turns_of(row: StoredResponse) -> tuple[ChatMessage, ...]:
    messages = message_for(row.job).prompt.messages or ()
    return messages[1:] if row.settings.get("instructions") else messages


def _answer_turn(row: StoredResponse, done: DoneEvent) -> ChatMessage:
    items = ItemBuilder(_answer_of(row).use, row.job.pk.hex)
    items.feed(done.text)
    items.finish()
    return ChatMessage(
        "assistant",
        "".join(item.text for item in items.items if not item.name),
        tool_calls=tuple(
            ToolCall(item.call_id, item.name, item.text) for item in items.items if item.name
        ),
    )


def _items_of(turn: ChatMessage) -> Iterator[dict[str, Any]]:
    if turn.role == "tool":
        yield {
            "type": "function_call_output",
            "call_id": turn.tool_call_id,
            "output": turn.content,
        }
        return
    kind = "output_text" if turn.role == "assistant" else "input_text"
    more: dict[str, Any] = {"annotations": []} if turn.role == "assistant" else {}
    if turn.content or not turn.tool_calls:
        content = [{"type": kind, "text": turn.content, **more}]
        yield {"type": "message", "role": turn.role, "content": content}
    for call in turn.tool_calls:
        yield {
            "type": "function_call",
            "call_id": call.id,
            "name": call.name,
            "arguments": call.arguments,
        }
