"""Stage 3/7 of the OpenAI door: checked calls become jobs, through the same gate as every other one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import redis
from rest_framework.request import Request

from accounts.rights_watch import Holder, holder_of
from inference.admission import admit
from inference.api.serializers import find_model
from inference.models import Model
from inference.openai_api.fields import with_limit
from inference.presence import EngineReport
from inference.prompts import check_length, context_length, count_tokens, most_tokens
from inference.protocol import GenerationJob, Prompt, SamplingParams
from inference.services.cancellation import request_cancel
from inference.services.submission import JobCall, PromptTokens, submit_job
from llamagpu.http.database import release_connections
from llamagpu.http.errors import AppError, request_id_of
from llamagpu.http.origin import current_origin
from llamagpu.http.permissions import INFER
from llamagpu.lib.error_codes import ErrorCode
from monitoring.configuration import current


@dataclass(frozen=True, slots=True)
class Call:
    """A valid call: a job for each prompt. `max_tokens` None takes what the context has left."""

    model: Model
    prompts: tuple[Prompt, ...]
    params: SamplingParams
    max_tokens: int | None
    is_streamed: bool
    end_user: str = ""


@dataclass(frozen=True, slots=True)
class Submitted:
    """The jobs of a call, in the order of its prompts, and whose rights are watched meanwhile."""

    jobs: tuple[GenerationJob, ...]
    holder: Holder


def servable_model(request: Request, slug: str) -> Model:
    """The model that a call names. Raises AppError MODEL_NOT_FOUND."""
    model = find_model(slug, request.user, request.auth)
    if not model.is_enabled:
        raise AppError(ErrorCode.MODEL_NOT_FOUND, f"The model '{model.slug}' is disabled.")
    return model


def submit(request: Request, call: Call) -> Submitted:
    """Queue a job for each prompt, all or none. Raises AppError and ValidationError."""
    engines = [engine for worker in admit() for engine in worker.engines]
    fitted = [_fit(call, prompt, engines) for prompt in call.prompts]
    jobs: list[GenerationJob] = []
    try:
        for prompt, (params, tokens) in zip(call.prompts, fitted, strict=True):
            jobs.append(_submit_one(request, call, prompt, params, tokens))
    except Exception:
        _cancel(jobs)
        raise
    peer = current_origin.get().peer
    holder = holder_of(request.user, request.auth, INFER, peer=peer, model=call.model.slug)
    release_connections()
    return Submitted(tuple(jobs), holder)


def _fit(
    call: Call, prompt: Prompt, engines: Sequence[EngineReport]
) -> tuple[SamplingParams, PromptTokens]:
    """The parameters with their number of tokens, and the prompt's length as far as it is known."""
    limit = context_length(call.model, engines)
    counted = count_tokens(call.model, prompt)
    if counted is not None:
        check_length(call.model, counted, call.max_tokens or 1, limit)
    room = limit - (call.max_tokens or 1)
    most = most_tokens(prompt, room) if counted is None else counted
    max_tokens = call.max_tokens or min(limit - most, current().max_new_tokens)
    return with_limit(call.params, max_tokens), PromptTokens(counted or 0, most)


def _submit_one(
    request: Request, call: Call, prompt: Prompt, params: SamplingParams, tokens: PromptTokens
) -> GenerationJob:
    return submit_job(
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
            reader_grace=0.0,
            received_at=request._request.received_at,  # type: ignore[attr-defined]
        )
    )


def _cancel(jobs: Sequence[GenerationJob]) -> None:
    """The call is refused: what was queued of it must not run."""
    for job in jobs:
        try:
            request_cancel(job.job_id)
        except redis.RedisError:
            return  # the deadline ends them
