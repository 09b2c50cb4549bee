"""Stage 1/7: HTTP to an authenticated, validated call. Each view reads, calls a service, answers."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from django.http import HttpRequest, HttpResponse, HttpResponseBase
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.views import APIView

from accounts.rights_watch import Holder, holder_of
from inference.admission import admit
from inference.api import responses
from inference.api.renderers import StreamingView
from inference.api.serializers import (
    InferSerializer,
    PlainInferSerializer,
    StreamInferSerializer,
    read_call,
)
from inference.prompts import check_fits, context_length, most_tokens
from inference.protocol import GenerationJob
from inference.services.submission import JobCall, PromptTokens, submit_job
from llamagpu.http.database import release_connections
from llamagpu.http.errors import request_id_of
from llamagpu.http.origin import current_origin
from llamagpu.http.permissions import INFER, LimitGroup
from llamagpu.http.request_threads import in_busy_threads
from monitoring.configuration import current


class PendingAnswer(HttpResponse):
    """A job was queued: the event loop waits for it, and this thread is free again."""

    def __init__(self, job: GenerationJob, holder: Holder) -> None:
        super().__init__()
        self.job = job
        self.holder = holder


class InferView(APIView):
    """POST /api/infer"""

    access = INFER
    limit_group = LimitGroup.INFERENCE

    @extend_schema(
        operation_id="infer", request=PlainInferSerializer, responses=OpenApiTypes.OBJECT
    )
    def post(self, request: Request) -> HttpResponseBase:
        job = _submit(request, PlainInferSerializer, is_streamed=False)
        return PendingAnswer(job, _holder_of(request, job))


class StreamInferView(StreamingView):
    """POST /api/stream_infer"""

    access = INFER
    limit_group = LimitGroup.INFERENCE

    @extend_schema(
        operation_id="stream_infer",
        request=StreamInferSerializer,
        responses={(200, "text/event-stream"): OpenApiTypes.STR},
    )
    def post(self, request: Request) -> HttpResponseBase:
        job = _submit(request, StreamInferSerializer, is_streamed=True)
        return responses.stream(request._request, job, _holder_of(request, job))


def awaiting(view: Callable[..., HttpResponseBase]) -> Callable[..., Any]:
    """Runs a REST view in its thread, then waits on the event loop for the job that it queued.

    So a waiting caller costs no thread and no database connection, and one that hangs up is noticed.
    """
    run = in_busy_threads(view)

    @functools.wraps(view)
    async def serve(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        response = await run(request, *args, **kwargs)
        if isinstance(response, PendingAnswer):
            return await responses.collect(request, response.job, response.holder)
        return response

    return serve


def _submit(
    request: Request, serializer_class: type[InferSerializer], *, is_streamed: bool
) -> GenerationJob:
    call = read_call(serializer_class(data=request.data), request.user, request.auth)
    engines = [engine for worker in admit() for engine in worker.engines]
    limit = context_length(call.model, engines)
    counted = check_fits(call.model, call.prompt, call.params.max_tokens, limit)
    most = most_tokens(call.prompt, limit - call.params.max_tokens) if counted is None else counted
    job = submit_job(
        JobCall(
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
            reader_grace=float(current().resume_grace) if call.is_resumable else 0.0,
            received_at=request._request.received_at,  # type: ignore[attr-defined]
        )
    )
    release_connections()
    return job


def _holder_of(request: Request, job: GenerationJob) -> Holder:
    """The caller, whose rights are watched for as long as the answer takes."""
    peer = current_origin.get().peer
    return holder_of(request.user, request.auth, INFER, peer=peer, model=job.model)
