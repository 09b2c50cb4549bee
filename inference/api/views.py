"""Stage 1/7: HTTP to an authenticated, validated call. Each view reads, calls a service, answers."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from django.http import HttpRequest, HttpResponse, HttpResponseBase
from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.views import APIView

from accounts.rights_watch import holder_of
from inference.admission import admit
from inference.api import responses
from inference.api.answer_schemas import ANSWER, STREAM
from inference.api.call_keys import made_once
from inference.api.overhead import tell_overhead_so_far
from inference.api.renderers import StreamingView
from inference.api.serializers import (
    GenerationCall,
    InferSerializer,
    PlainInferSerializer,
    StreamInferSerializer,
    read_call,
)
from inference.prompts import check_fits, context_length, most_tokens
from inference.replaying import events_again
from inference.services.idempotency import CallKey, find_jobs
from inference.services.submission import JobCall, PromptTokens, submit_job
from inference.stream import Events
from inference.waiting import follow
from llamagpu.http import idempotency
from llamagpu.http.database import release_connections
from llamagpu.http.errors import request_id_of
from llamagpu.http.origin import current_origin
from llamagpu.http.permissions import INFER, LimitGroup
from llamagpu.http.request_threads import in_busy_threads
from monitoring.configuration import current


@dataclass(frozen=True, slots=True)
class Asked:
    """The job of a call, and its events from the first one on."""

    job_id: str
    events: Events


class PendingAnswer(HttpResponse):
    """A job was queued: the event loop waits for it, and this thread is free again."""

    def __init__(self, asked: Asked) -> None:
        super().__init__()
        self.asked = asked


class InferView(APIView):
    """POST /api/infer: an answer in one piece."""

    access = INFER
    limit_group = LimitGroup.INFERENCE
    takes_idempotency_key = True

    @extend_schema(
        operation_id="infer",
        parameters=[idempotency.PARAMETER],
        request=PlainInferSerializer,
        responses=ANSWER,
    )
    def post(self, request: Request) -> HttpResponseBase:
        return PendingAnswer(ask(request, PlainInferSerializer, is_streamed=False))


class StreamInferView(StreamingView):
    """POST /api/stream_infer: an answer as it comes, by server-sent events that can be resumed."""

    access = INFER
    limit_group = LimitGroup.INFERENCE
    takes_idempotency_key = True

    @extend_schema(
        operation_id="stream_infer",
        parameters=[idempotency.PARAMETER],
        request=StreamInferSerializer,
        responses={(200, "text/event-stream"): STREAM},
    )
    def post(self, request: Request) -> HttpResponseBase:
        asked = ask(request, StreamInferSerializer, is_streamed=True)
        tell_overhead_so_far(request._request)
        return responses.stream_events(request._request, asked.job_id, asked.events)


def awaiting(view: Callable[..., HttpResponseBase]) -> Callable[..., Any]:
    """Runs a REST view in its thread, then waits on the event loop for the job that it queued.

    So a waiting caller costs no thread and no database connection, and one that hangs up is noticed.
    """
    run = in_busy_threads(view)

    @functools.wraps(view)
    async def serve(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        response = await run(request, *args, **kwargs)
        if isinstance(response, PendingAnswer):
            asked = response.asked
            return await responses.collect(request, asked.job_id, asked.events)
        return response

    return serve


def ask(request: Request, serializer_class: type[InferSerializer], *, is_streamed: bool) -> Asked:
    """Queue the call's job, or find the one that an earlier call has made under the same key."""
    call = read_call(serializer_class(data=request.data), request.user, request.auth)
    peer = current_origin.get().peer
    holder = holder_of(request.user, request.auth, INFER, peer=peer, model=call.model.slug)

    def find(key: CallKey) -> Asked | None:
        if (rows := find_jobs(key)) is None:
            return None
        return Asked(str(rows[0].pk), events_again(rows[0], holder))

    def submit(key: CallKey | None) -> Asked:
        job = submit_job(_checked(request, call, key, is_streamed=is_streamed), key)
        return Asked(job.job_id, follow(job, holder))

    asked = made_once(request, find, submit)
    release_connections()
    return asked


def _checked(
    request: Request, call: GenerationCall, key: CallKey | None, *, is_streamed: bool
) -> JobCall:
    """What is to be queued: there is a worker, and prompt and answer fit the model."""
    engines = [engine for worker in admit() for engine in worker.engines]
    limit = context_length(call.model, engines)
    counted = check_fits(call.model, call.prompt, call.params.max_tokens, limit)
    most = most_tokens(call.prompt, limit - call.params.max_tokens) if counted is None else counted
    is_resumable = call.is_resumable or key is not None  # whoever has a key may come back
    return JobCall(
        owner=request.user,
        api_key=request.auth,
        model=call.model,
        prompt=call.prompt,
        params=call.params,
        priority=call.priority,
        timeout=call.timeout,
        request_id=request_id_of(request),
        is_streamed=is_streamed,
        prompt_tokens=PromptTokens(counted or 0, most),
        reader_grace=float(current().resume_grace) if is_resumable else 0.0,
        received_at=request._request.received_at,  # type: ignore[attr-defined]
    )
