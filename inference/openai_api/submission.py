"""Stage 3/7 of the OpenAI door: checked calls become jobs, through the same gate as every other one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import redis
from rest_framework.request import Request

from accounts.rights_watch import Holder, holder_of
from inference.admission import admit, find_workers
from inference.api.call_keys import made_once
from inference.api.serializers import find_model
from inference.models import Model
from inference.openai_api.fields import with_limit
from inference.openai_api.model_fields import fingerprint_of
from inference.presence import EngineReport, WorkerReport
from inference.prompts import (
    check_answer_length,
    check_leaves_room,
    check_length,
    context_length,
    count_tokens,
    most_new_tokens,
    most_tokens,
    open_length,
)
from inference.protocol import GenerationJob, Prompt, SamplingParams
from inference.replaying import events_again
from inference.services.attempts import message_for
from inference.services.cancellation import request_cancel
from inference.services.idempotency import CallKey, find_jobs
from inference.services.submission import JobCall, PromptTokens, submit_jobs
from inference.stream import Events
from llamagpu.http.database import release_connections
from llamagpu.http.errors import AppError, request_id_of
from llamagpu.http.origin import current_origin
from llamagpu.http.permissions import INFER
from llamagpu.lib.error_codes import ErrorCode
from monitoring.configuration import current

_ABOUT_FIELDS = {
    ErrorCode.CONTEXT_LENGTH_EXCEEDED,
    ErrorCode.INVALID_INPUT,
    ErrorCode.NOT_FOUND,
}


@dataclass(frozen=True, slots=True)
class Call:
    """A valid call: a job for each prompt. `max_tokens` None takes what the context has left."""

    model: Model
    prompts: tuple[Prompt, ...]
    params: SamplingParams
    max_tokens: int | None
    is_streamed: bool
    end_user: str = ""
    #: The field of the body that holds the prompts: errors about them name it.
    prompt_field: str = "prompt"


@dataclass(frozen=True, slots=True)
class Submitted:
    """The jobs of a call, in the order of its prompts, and whose rights are watched meanwhile.

    `fingerprint` names what computes: a seed gives the same answer as long as it stays. `events` are the
    jobs' events where these are an earlier call's; else they are to be followed.
    """

    jobs: tuple[GenerationJob, ...]
    holder: Holder
    fingerprint: str = ""
    events: tuple[Events, ...] = ()


def servable_model(request: Request, slug: str) -> Model:
    """The model that a call names. Raises AppError MODEL_NOT_FOUND."""
    model = find_model(slug, request.user, request.auth)
    if not model.is_enabled:
        raise AppError(ErrorCode.MODEL_NOT_FOUND, f"The model '{model.slug}' is disabled.")
    return model


def submit(request: Request, call: Call) -> Submitted:
    """Queue a job for each prompt, all or none, or find those of an earlier call with the same key.

    Raises AppError and ValidationError.
    """
    peer = current_origin.get().peer
    holder = holder_of(request.user, request.auth, INFER, peer=peer, model=call.model.slug)

    def find(key: CallKey) -> Submitted | None:
        if (rows := find_jobs(key)) is None:
            return None
        return Submitted(
            tuple(map(message_for, rows)),
            holder,
            fingerprint_of(call.model, _engines(_living_workers())),
            tuple(events_again(row, holder) for row in rows),
        )

    def make(key: CallKey | None) -> Submitted:
        engines = _engines(admit())
        jobs = submit_jobs(_job_calls(request, call, engines, key), key)
        return Submitted(tuple(jobs), holder, fingerprint_of(call.model, engines))

    submitted = made_once(request, find, make)
    release_connections()
    return submitted


def _living_workers() -> list[WorkerReport]:
    """An answer that is there needs none of them."""
    try:
        return find_workers()
    except redis.RedisError:
        return []


def _engines(workers: Sequence[WorkerReport]) -> list[EngineReport]:
    return [engine for worker in workers for engine in worker.engines]


def fit(
    call: Call, prompt: Prompt, engines: Sequence[EngineReport]
) -> tuple[SamplingParams, PromptTokens]:
    """The parameters with their number of tokens, and the prompt's length as far as it is known.

    Raises AppError and ValidationError that name the field.
    """
    limit = context_length(call.model, engines)
    if call.max_tokens:
        check_answer_length(call.model, call.max_tokens)
    try:
        if prompt.inputs:
            return call.params, _count_inputs(call.model, prompt.inputs, limit)
        return _fit_answer(call, prompt, limit)
    except AppError as error:
        raise about(call.prompt_field, error) from error


def _fit_answer(call: Call, prompt: Prompt, limit: int) -> tuple[SamplingParams, PromptTokens]:
    least = 1 if call.max_tokens is None else call.max_tokens
    counted = count_tokens(call.model, prompt)
    if counted is None:
        check_leaves_room(call.model, least, limit)
    else:
        check_length(call.model, counted, least, limit)
    most = most_tokens(prompt, limit - least) if counted is None else counted
    max_tokens = call.max_tokens
    if max_tokens is None:
        max_tokens = min(open_length(call.model, most, limit), most_new_tokens(call.model))
    return with_limit(call.params, max_tokens), PromptTokens(counted or 0, most)


def _count_inputs(model: Model, inputs: Sequence[Prompt], limit: int) -> PromptTokens:
    """The length of all inputs together; each must fit the context alone."""
    counts = []
    for index, prompt in enumerate(inputs):
        counted = count_tokens(model, prompt)
        if counted is None:
            return PromptTokens(0, sum(most_tokens(item, limit) for item in inputs))
        if counted > limit:
            raise AppError(
                ErrorCode.CONTEXT_LENGTH_EXCEEDED,
                f"input[{index}] has {counted} tokens, over the {limit} that '{model.slug}' can "
                "hold. Cut it into shorter pieces.",
            )
        counts.append(counted)
    return PromptTokens(sum(counts), sum(counts))


def about(field: str, error: AppError) -> AppError:
    """The error, naming the field of the body where it is about the prompt."""
    if error.code not in _ABOUT_FIELDS:
        return error
    if error.details is not None and not isinstance(error.details, dict):
        return error
    details = {**(error.details or {}), "param": field}
    return AppError(error.code, error.message, details=details, retry_after=error.retry_after)


def _job_calls(
    request: Request, call: Call, engines: Sequence[EngineReport], key: CallKey | None
) -> list[JobCall]:
    """Whoever has a key may come back: its jobs go on for a while."""
    fitted = [(prompt, *fit(call, prompt, engines)) for prompt in call.prompts]
    return [
        JobCall(
            owner=request.user,
            api_key=request.auth,
            model=call.model,
            prompt=prompt,
            params=params,
            priority=0,
            timeout=float(current().job_timeout),
            request_id=request_id_of(request),
            is_streamed=call.is_streamed,
            prompt_tokens=tokens,
            end_user=call.end_user,
            reader_grace=float(current().resume_grace) if key else 0.0,
            received_at=request._request.received_at,  # type: ignore[attr-defined]
        )
        for prompt, params, tokens in fitted
    ]


def cancel_jobs(jobs: Sequence[GenerationJob]) -> None:
    """The call is refused: what was queued of it must not run."""
    for job in jobs:
        try:
            request_cancel(job.job_id)
        except redis.RedisError:
            return  # the deadline ends them
