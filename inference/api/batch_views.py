"""Stage 1/7 of batches: POST /api/batch_infer, and /api/batches to look after them."""

from __future__ import annotations

import functools
import uuid
from collections.abc import Callable
from typing import Any

from asgiref.sync import sync_to_async
from django.http import HttpRequest, HttpResponse, HttpResponseBase, JsonResponse
from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from accounts.rights_watch import Holder, holder_of
from inference.admission import admit
from inference.api.answer_schemas import BATCH, BATCH_ALONE, BATCH_ANSWERS, BATCHES
from inference.api.batch_answers import (
    accepted_answer,
    describe_batch,
    describe_item,
    whole_answer,
)
from inference.api.batch_serializers import BatchSerializer, check_inputs, read_batch
from inference.api.call_keys import made_once
from inference.api.overhead import tell_overhead_so_far
from inference.batch_waiting import wait_for_batch
from inference.models import Batch
from inference.services.batches import cancel_batch, submit_batch
from inference.services.idempotency import CallKey, find_made
from llamagpu.http import idempotency
from llamagpu.http.database import release_connections
from llamagpu.http.errors import AppError, error_response, request_id_of
from llamagpu.http.origin import current_origin
from llamagpu.http.pagination import PAGE_SCHEMA, page_response
from llamagpu.http.permissions import INFER_BATCH, LimitGroup
from llamagpu.http.request_threads import in_busy_threads
from llamagpu.lib.error_codes import ErrorCode
from monitoring.configuration import current


class PendingBatch(HttpResponse):
    """A batch was queued whose caller waits: the event loop waits for it, this thread is free again."""

    def __init__(self, batch: Batch, holder: Holder, grace: float) -> None:
        """`grace` is for how many seconds it goes on when its caller leaves."""
        super().__init__()
        self.batch = batch
        self.holder = holder
        self.grace = grace


class BatchInferView(APIView):
    """POST /api/batch_infer: many inputs in one call; with `async` a batch to ask for later."""

    access = INFER_BATCH
    limit_group = LimitGroup.BATCH
    takes_idempotency_key = True

    @extend_schema(
        operation_id="batch_infer",
        parameters=[idempotency.PARAMETER],
        request=BatchSerializer,
        responses=BATCH_ANSWERS,
    )
    def post(self, request: Request) -> HttpResponseBase:
        call = read_batch(request.data, request.user, request.auth)

        def submit(key: CallKey | None) -> Batch:
            workers = admit()
            return submit_batch(
                owner=request.user,
                api_key=request.auth,
                model=call.model,
                entries=check_inputs(call, workers),
                priority=call.priority,
                timeout=call.timeout,
                request_id=request_id_of(request),
                is_async=call.is_async,
                workers=workers,
                received_at=request._request.received_at,  # type: ignore[attr-defined]
                key=key,
            )

        batch = made_once(request, _find_batch, submit)
        tell_overhead_so_far(request._request)
        if call.is_async:
            url = request.build_absolute_uri(f"batches/{batch.pk}")  # beside this address
            return Response(accepted_answer(batch, request_id_of(request), url), status=202)
        grace = float(current().resume_grace) if batch.call_id else 0.0
        release_connections()
        peer = current_origin.get().peer
        holder = holder_of(
            request.user, request.auth, INFER_BATCH, peer=peer, model=call.model.slug
        )
        return PendingBatch(batch, holder, grace)


def _find_batch(key: CallKey) -> Batch | None:
    return find_made(key, "batch", "model")


class BatchesView(APIView):
    """GET /api/batches"""

    access = INFER_BATCH

    @extend_schema(operation_id="list_batches", parameters=PAGE_SCHEMA, responses=BATCHES)
    def get(self, request: Request) -> Response:
        batches = Batch.objects.visible_to(request.user, request.auth).with_counts()
        rows = batches.select_related("owner", "model")
        return page_response(request, rows, describe_batch, ordering=("-created_at", "-id"))


class BatchView(APIView):
    """GET and DELETE /api/batches/{id}"""

    access = INFER_BATCH

    @extend_schema(operation_id="read_batch", parameters=PAGE_SCHEMA, responses=BATCH)
    def get(self, request: Request, batch_id: uuid.UUID) -> Response:
        batch = find_batch(request, batch_id)
        items = batch.items.select_related("job")
        is_owner = batch.owner_id == request.user.pk
        describe = functools.partial(describe_item, for_owner=is_owner)
        page = page_response(request, items, describe, ordering=("position",))
        page.data["batch"] = describe_batch(batch)
        return page

    @extend_schema(operation_id="cancel_batch", responses={200: BATCH_ALONE})
    def delete(self, request: Request, batch_id: uuid.UUID) -> Response:
        cancel_batch(batch=find_batch(request, batch_id))
        batch = find_batch(request, batch_id)
        return Response({"success": True, "batch": describe_batch(batch)})


def find_batch(request: Request, batch_id: uuid.UUID) -> Batch:
    """Raises AppError NOT_FOUND, also for a batch that the caller may not see."""
    batches = Batch.objects.visible_to(request.user, request.auth).with_counts()
    batch = batches.select_related("owner", "model").filter(pk=batch_id).first()
    if batch is None:
        raise AppError(ErrorCode.NOT_FOUND, f"There is no batch '{batch_id}'.")
    return batch


def awaiting_batch(view: Callable[..., HttpResponseBase]) -> Callable[..., Any]:
    """As `inference.api.views.awaiting`, for batches."""
    run = in_busy_threads(view)

    @functools.wraps(view)
    async def serve(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        response = await run(request, *args, **kwargs)
        if not isinstance(response, PendingBatch):
            return response
        try:
            await wait_for_batch(response.batch, response.holder, response.grace)
        except AppError as error:
            return error_response(request, error)
        body = await sync_to_async(_read_answer, thread_sensitive=False)(request, response.batch)
        return JsonResponse(body, json_dumps_params={"ensure_ascii": False})

    return serve


def _read_answer(request: HttpRequest, batch: Batch) -> dict[str, Any]:
    try:
        return whole_answer(batch, request, request_id_of(request))
    finally:
        release_connections()
