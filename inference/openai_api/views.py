"""Stage 1/7 of the OpenAI door: `/v1/`, for clients that were written for OpenAI's API."""

from __future__ import annotations

import functools
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from django.http import HttpRequest, HttpResponse, HttpResponseBase
from drf_spectacular.utils import extend_schema
from rest_framework.renderers import JSONRenderer
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from inference.api.renderers import EventStreamRenderer
from inference.api.serializers import find_model
from inference.models import Model
from inference.openai_api import answers
from inference.openai_api.calls import read_chat, read_completion, read_embedding, read_response
from inference.openai_api.embedding_fields import EmbeddingSerializer
from inference.openai_api.headers import add_rate_headers, add_token_headers
from inference.openai_api.model_fields import model_fields
from inference.openai_api.response_fields import ResponseSerializer
from inference.openai_api.schemas import CHAT, COMPLETION, EMBEDDINGS, MODEL, MODELS, RESPONSE
from inference.openai_api.serializers import ChatSerializer, CompletionSerializer
from inference.openai_api.shape import Answer
from inference.openai_api.stored_responses import store
from inference.openai_api.submission import Call, Submitted, cancel_jobs, submit
from llamagpu.http import idempotency
from llamagpu.http.database import release_connections
from llamagpu.http.openai_errors import render_openai_exception
from llamagpu.http.permissions import INFER, READ_MODELS, LimitGroup
from llamagpu.http.request_threads import in_busy_threads

Finish = Callable[[HttpRequest], Awaitable[HttpResponseBase]]


class OpenAIView(APIView):
    """Errors have OpenAI's form, limits the headers of that name."""

    renderer_classes = [JSONRenderer, EventStreamRenderer]

    def get_exception_handler(self) -> Callable[[Exception, Mapping[str, Any]], Response]:
        return render_openai_exception

    def finalize_response(self, request: Request, response: Any, *args: Any, **kwargs: Any) -> Any:
        add_rate_headers(request._request.answer_headers)  # type: ignore[attr-defined]
        if isinstance(response, Response):  # JSON, whatever the client asked for
            request.accepted_renderer = JSONRenderer()
            request.accepted_media_type = JSONRenderer.media_type
        return super().finalize_response(request, response, *args, **kwargs)


class PendingAnswer(HttpResponse):
    """Jobs were queued: the event loop finishes the answer, and this thread is free again."""

    def __init__(self, finish: Finish) -> None:
        super().__init__()
        self.finish = finish


class ChatCompletionsView(OpenAIView):
    """POST /v1/chat/completions: the next turn of a chat, in one piece or with `stream` as it comes."""

    access = INFER
    limit_group = LimitGroup.INFERENCE
    takes_idempotency_key = True

    @extend_schema(
        operation_id="create_chat_completion",
        parameters=[idempotency.PARAMETER],
        request=ChatSerializer,
        responses=CHAT,
    )
    def post(self, request: Request) -> HttpResponseBase:
        return _answer(request, *read_chat(request))


class CompletionsView(OpenAIView):
    """POST /v1/completions: what follows a text or tokens, without a chat template."""

    access = INFER
    limit_group = LimitGroup.INFERENCE
    takes_idempotency_key = True

    @extend_schema(
        operation_id="create_completion",
        parameters=[idempotency.PARAMETER],
        request=CompletionSerializer,
        responses=COMPLETION,
    )
    def post(self, request: Request) -> HttpResponseBase:
        return _answer(request, *read_completion(request))


class EmbeddingsView(OpenAIView):
    """POST /v1/embeddings: a vector for each input."""

    access = INFER
    limit_group = LimitGroup.INFERENCE
    takes_idempotency_key = True

    @extend_schema(
        operation_id="create_embedding",
        parameters=[idempotency.PARAMETER],
        request=EmbeddingSerializer,
        responses=EMBEDDINGS,
    )
    def post(self, request: Request) -> HttpResponseBase:
        return _answer(request, *read_embedding(request))


class ResponsesView(OpenAIView):
    """POST /v1/responses: an answer that is kept, and that a later call may go on from."""

    access = INFER
    limit_group = LimitGroup.INFERENCE
    takes_idempotency_key = True

    @extend_schema(
        operation_id="create_response",
        parameters=[idempotency.PARAMETER],
        request=ResponseSerializer,
        responses=RESPONSE,
    )
    def post(self, request: Request) -> HttpResponseBase:
        call, answer = read_response(request, may_store=True)
        return _answer(request, call, answer, then=lambda submitted: store(submitted, answer))


class ModelsView(OpenAIView):
    """GET /v1/models: those that the caller can generate with."""

    access = READ_MODELS

    @extend_schema(operation_id="list_openai_models", responses=MODELS)
    def get(self, request: Request) -> Response:
        models = Model.objects.visible_to(request.user).allowed_by(request.auth).servable()
        return Response({"object": "list", "data": [model_fields(model) for model in models]})


class ModelView(OpenAIView):
    """GET /v1/models/{id}"""

    access = READ_MODELS

    @extend_schema(operation_id="read_openai_model", responses=MODEL)
    def get(self, request: Request, slug: str) -> Response:
        return Response(model_fields(find_model(slug, request.user, request.auth)))


def awaiting(view: Callable[..., HttpResponseBase]) -> Callable[..., Any]:
    """Runs a REST view in its thread, then finishes on the event loop what it left pending.

    So a waiting caller costs no thread and no database connection, and one that hangs up is noticed.
    """
    run = in_busy_threads(view)

    @functools.wraps(view)
    async def serve(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        response = await run(request, *args, **kwargs)
        if isinstance(response, PendingAnswer):
            return await response.finish(request)
        return response

    return serve


def _answer(
    request: Request,
    call: Call,
    answer: Answer,
    then: Callable[[Submitted], None] = lambda submitted: None,
) -> HttpResponseBase:
    headers: dict[str, str] = request._request.answer_headers  # type: ignore[attr-defined]
    try:
        submitted = submit(request, call)
        try:
            then(submitted)
        except Exception:
            cancel_jobs(submitted.jobs)
            raise
    finally:
        add_token_headers(headers, request.user, request.auth, call.model.slug)
        release_connections()
    give = answers.stream if call.is_streamed else answers.collect
    return PendingAnswer(lambda http_request: give(http_request, submitted, answer))
