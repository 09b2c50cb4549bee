"""A batch's line as a call, and what its jobs came to as the line of a result file.

A line goes through the same reading, and comes to the same body, as a call of its own.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, cast

import redis
from django.db import Error
from rest_framework.exceptions import ValidationError
from rest_framework.request import Request

from accounts.rights_watch import Holder
from inference.api.batch_serializers import DEFAULT_PRIORITY
from inference.models import FileBatch, InferenceJob
from inference.openai_api.batch_input import Line
from inference.openai_api.calls import read_chat, read_completion, read_embedding, read_response
from inference.openai_api.fields import problem
from inference.openai_api.model_fields import fingerprint_of
from inference.openai_api.shape import Answer
from inference.openai_api.submission import Call, Submitted, fit
from inference.presence import EngineReport
from inference.protocol import DoneEvent, ErrorEvent
from inference.services.answers import done_event_of
from inference.services.attempts import message_for
from inference.services.batch_lines import Result
from inference.services.submission import JobCall
from inference.states import JobState
from llamagpu.http.errors import AppError, as_app_error, internal_error
from llamagpu.http.openai_errors import openai_error
from llamagpu.http.permissions import INFER_BATCH
from llamagpu.lib.error_codes import ErrorCode

Reader = Callable[[Request], tuple[Call, Answer]]
#: What a batch may call, each with what reads a body for it.
READERS: dict[str, Reader] = {
    "/v1/chat/completions": read_chat,
    "/v1/completions": read_completion,
    "/v1/responses": read_response,
    "/v1/embeddings": read_embedding,
}
#: Why a line has no answer that was not let run to its end, by the ending of its batch.
UNANSWERED = {
    "cancelled": ("batch_cancelled", "The batch was cancelled before this line had an answer."),
    "expired": ("batch_expired", "The batch's time was over before this line had an answer."),
    "failed": ("batch_failed", "The batch was stopped before this line had an answer."),
}

#: What says nothing of a line: it is tried again.
PASSING = (Error, OSError, redis.RedisError)


@dataclass(frozen=True, slots=True)
class _LineRequest:
    """What the readers ask of a request."""

    data: dict[str, Any]
    user: Any
    auth: Any


def read_line(batch: FileBatch, line: Line) -> tuple[Call, Answer]:
    """Raises AppError and ValidationError, as a call of its own would. Reads the database."""
    if line.body.get("stream"):
        raise problem("stream", "Must be false: a batch answers in a file.")
    request = _LineRequest(line.body, batch.owner, batch.api_key)
    return READERS[batch.endpoint](cast(Request, request))


def job_calls(
    batch: FileBatch, line: Line, engines: Sequence[EngineReport], seconds_left: float
) -> tuple[JobCall, ...]:
    """The jobs that a line asks for. Raises AppError and ValidationError."""
    call, _ = read_line(batch, line)
    fitted = [(prompt, *fit(call, prompt, engines)) for prompt in call.prompts]
    return tuple(
        JobCall(
            owner=batch.owner,
            api_key=batch.api_key,
            model=call.model,
            prompt=prompt,
            params=params,
            prompt_tokens=tokens,
            priority=DEFAULT_PRIORITY,
            # A line waits for its turn as long as its batch may take.
            timeout=seconds_left,
            request_id=request_id_of_line(batch, line.number),
            end_user=call.end_user,
        )
        for prompt, params, tokens in fitted
    )


def request_id_of_line(batch: FileBatch, number: int) -> str:
    """Names a line in its result and in the rows of its jobs."""
    return f"batch_req_{batch.pk.hex}{number:06d}"


def result_of(
    batch: FileBatch, line: Line, jobs: Sequence[InferenceJob], engines: Sequence[EngineReport]
) -> Result:
    """What is written of a line whose jobs, in their order, have all ended. Reads the database."""
    refused = next((job for job in jobs if job.state != JobState.SUCCEEDED), None)
    if refused is not None and batch.ending and refused.error_code == ErrorCode.CANCELLED:
        return unanswered(batch, line)
    if refused is not None and refused.error_code == ErrorCode.DEADLINE_EXCEEDED:
        return unanswered(batch, line, "expired")
    try:
        call, answer = read_line(batch, line)
        if refused is not None:
            code = ErrorCode(refused.error_code)
            raise answer.error_of(ErrorEvent(code, refused.error_message))
        submitted = Submitted(
            tuple(message_for(job) for job in jobs),
            Holder(batch.owner_id, INFER_BATCH),
            fingerprint_of(call.model, engines),
        )
        body = answer.body(submitted, [_end_of(job) for job in jobs])
    except (AppError, ValidationError) as error:
        return failed(batch, line, error)
    return _answered(batch, line, 200, body)


def _end_of(job: InferenceJob) -> DoneEvent:
    """Raises AppError where the owner's retention has removed the answer already."""
    if job.content_removed_at is not None:
        raise AppError(
            ErrorCode.INFERENCE_FAILED, "The answer was removed before it could be written."
        )
    return done_event_of(job)


def failed(batch: FileBatch, line: Line, error: Exception) -> Result:
    """What is written of a line that is refused, or whose jobs have failed."""
    said = as_app_error(error) or internal_error()
    return _answered(batch, line, said.code.http_status, openai_error(said))


def unanswered(batch: FileBatch, line: Line, ending: str = "") -> Result:
    """What is written of a line that was not let run to its end."""
    code, message = UNANSWERED[ending or batch.ending]
    return _result(batch, line, None, {"code": code, "message": message}, is_failed=True)


def _answered(batch: FileBatch, line: Line, status: int, body: dict[str, Any]) -> Result:
    response = {
        "status_code": status,
        "request_id": request_id_of_line(batch, line.number),
        "body": body,
    }
    return _result(batch, line, response, None, is_failed=status != 200)


def _result(
    batch: FileBatch,
    line: Line,
    response: dict[str, Any] | None,
    error: dict[str, str] | None,
    *,
    is_failed: bool,
) -> Result:
    fields = {
        "id": request_id_of_line(batch, line.number),
        "custom_id": line.custom_id,
        "response": response,
        "error": error,
    }
    # In ASCII: some readers take other characters of Unicode for ends of lines.
    return Result(json.dumps(fields, separators=(",", ":")), is_failed)
