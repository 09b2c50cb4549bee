"""`/v1/batches`: many calls in a file, answered into a file, whatever restarts meanwhile."""

from __future__ import annotations

import logging

import redis
from django.conf import settings
from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from inference.api.call_keys import made_once
from inference.batch_bell import ring_batch
from inference.dispatch import BrokerUnavailableError
from inference.models import FileBatch
from inference.openai_api.batch_fields import (
    BATCH_PREFIX,
    BatchListSerializer,
    BatchObjectSerializer,
    BatchRequestSerializer,
    batch_fields,
    find_batch,
)
from inference.openai_api.file_fields import LIST_SCHEMA, check_parameters, find_file, list_page
from inference.openai_api.file_views import PlainView
from inference.services.file_batches import BatchCall, cancel_batch, create_batch
from inference.services.idempotency import CallKey, find_made
from llamagpu.http import idempotency
from llamagpu.http.errors import request_id_of
from llamagpu.http.permissions import INFER_BATCH, LimitGroup
from llamagpu.lib.redis_client import sync_client

logger = logging.getLogger(__name__)

_MOST_BATCHES = 100


class BatchesView(PlainView):
    """GET and POST /v1/batches"""

    access = INFER_BATCH
    takes_idempotency_key = True

    @property
    def limit_group(self) -> LimitGroup:
        return LimitGroup.BATCH if self.request.method == "POST" else LimitGroup.SYSTEM

    @extend_schema(
        operation_id="create_file_batch",
        parameters=[idempotency.PARAMETER],
        request=BatchRequestSerializer,
        responses=BatchObjectSerializer,
    )
    def post(self, request: Request) -> Response:
        body = BatchRequestSerializer(data=request.data)
        body.is_valid(raise_exception=True)
        fields = body.validated_data

        def make(key: CallKey | None) -> FileBatch:
            call = BatchCall(
                owner=request.user,
                api_key=request.auth,
                input_file=find_file(request.user, fields["input_file_id"]),
                endpoint=fields["endpoint"],
                metadata=fields.get("metadata"),
                request_id=request_id_of(request),
            )
            return create_batch(call, key)

        batch = made_once(request, lambda key: find_made(key, "file_batch"), make)
        _ring(batch)
        return Response(batch_fields(batch))

    @extend_schema(
        operation_id="list_file_batches",
        parameters=LIST_SCHEMA,
        responses=BatchListSerializer,
    )
    def get(self, request: Request) -> Response:
        check_parameters(request, ("after", "limit"))
        rows = FileBatch.objects.visible_to(request.user)
        page = list_page(
            request, rows, batch_fields, prefix=BATCH_PREFIX, default=20, most=_MOST_BATCHES
        )
        return Response(page)


class BatchView(PlainView):
    """GET /v1/batches/{id}"""

    access = INFER_BATCH

    @extend_schema(operation_id="read_file_batch", responses=BatchObjectSerializer)
    def get(self, request: Request, name: str) -> Response:
        return Response(batch_fields(find_batch(request.user, name)))


class BatchCancelView(PlainView):
    """POST /v1/batches/{id}/cancel: lines that run end, those that wait are not begun."""

    access = INFER_BATCH

    @extend_schema(
        operation_id="cancel_file_batch",
        request=None,
        responses=BatchObjectSerializer,
    )
    def post(self, request: Request, name: str) -> Response:
        batch = find_batch(request.user, name)
        cancel_batch(actor=request.user, batch=batch)
        _ring(batch)
        return Response(batch_fields(batch))


def _ring(batch: FileBatch) -> None:
    """Where that fails, a worker that lives finds the row within seconds."""
    try:
        ring_batch(sync_client(settings.REDIS_URL), batch.pk)
    except (redis.RedisError, BrokerUnavailableError) as error:
        logger.warning("%s waits for a worker that looks around: %s", batch, error)
