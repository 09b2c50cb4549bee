"""Upstreams of remote models over HTTP, for who manages models alone."""

from __future__ import annotations

from drf_spectacular.utils import OpenApiExample, extend_schema
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from inference.api.model_schemas import UPSTREAM
from inference.api.model_serializers import REGISTRARS
from inference.api.model_views import find_any_model
from inference.api.upstream_serializers import (
    RegisterRemoteSerializer,
    UpstreamAnswerSerializer,
    UpstreamSerializer,
)
from inference.model_sources import SourceKind
from inference.models import Upstream
from inference.services.upstreams import change_upstream
from llamagpu.http.errors import AppError
from llamagpu.http.permissions import WRITE_MODELS
from llamagpu.http.schema_words import call_example
from llamagpu.lib.error_codes import ErrorCode

REGISTRARS[SourceKind.REMOTE] = RegisterRemoteSerializer

_EXAMPLE = OpenApiExample(
    "vLLM",
    value={
        "success": True,
        "upstream": {
            "model": "some-model",
            "base_url": "http://gpu-1.example.org:8000/v1",
            "upstream_model": "org/Some-Model",
            "has_key": True,
            "timeout": 120,
            "capabilities": ["chat", "completions"],
        },
    },
    response_only=True,
)


class UpstreamView(APIView):
    """GET, PATCH /api/models/{id}/upstream"""

    access = WRITE_MODELS

    @extend_schema(operation_id="read_upstream", responses=UPSTREAM, examples=[_EXAMPLE])
    def get(self, request: Request, slug: str) -> Response:
        model = find_any_model(slug, request.user, request.auth)
        upstream = Upstream.objects.visible_to(request.user).filter(model=model).first()
        if upstream is None:
            raise AppError(ErrorCode.NOT_FOUND, f"'{model.slug}' has no upstream.")
        return _shown(upstream)

    @extend_schema(
        operation_id="change_upstream",
        request=UpstreamSerializer,
        responses=UPSTREAM,
        examples=[
            call_example({"timeout": 60, "capabilities": ["chat", "completions"]}),
            _EXAMPLE,
        ],
    )
    def patch(self, request: Request, slug: str) -> Response:
        model = find_any_model(slug, request.user, request.auth)
        body = UpstreamSerializer(data=request.data)
        body.is_valid(raise_exception=True)
        return _shown(change_upstream(actor=request.user, model=model, changes=body.changes))


def _shown(upstream: Upstream) -> Response:
    return Response(UpstreamAnswerSerializer({"success": True, "upstream": upstream}).data)
