"""Models over HTTP: what there is, what is loaded, and who may change that."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from inference.api.model_serializers import ChangeModelSerializer, LoadSerializer
from inference.api.serializers import find_model
from inference.model_control import change_model, load_model, unload_model
from inference.model_progress import ModelProgress, progress_of, wait_until_gone
from inference.models import Model
from inference.states import ModelState
from inference.status import describe_models
from llamagpu.http.database import release_connections
from llamagpu.http.permissions import READ_MODELS, WRITE_MODELS

#: Seconds that a caller waits for the end of an engine: its requests have thirty to end in.
UNLOAD_PATIENCE = 40.0


class ModelsView(APIView):
    """GET /api/models"""

    access = READ_MODELS

    @extend_schema(operation_id="list_models", responses=OpenApiTypes.OBJECT)
    def get(self, request: Request) -> Response:
        models = describe_models(Model.objects.visible_to(request.user).allowed_by(request.auth))
        return Response({"success": True, "count": len(models), "models": models})


class ModelView(APIView):
    """GET, PATCH /api/models/{id}"""

    access = {"GET": READ_MODELS, "PATCH": WRITE_MODELS}

    @extend_schema(operation_id="read_model", responses=OpenApiTypes.OBJECT)
    def get(self, request: Request, slug: str) -> Response:
        return _described(find_model(slug, request.user, request.auth))

    @extend_schema(
        operation_id="change_model", request=ChangeModelSerializer, responses=OpenApiTypes.OBJECT
    )
    def patch(self, request: Request, slug: str) -> Response:
        model = find_model(slug, request.user, request.auth)
        body = ChangeModelSerializer(data=request.data)
        body.is_valid(raise_exception=True)
        return _described(change_model(actor=request.user, model=model, changes=body.changes))


class ModelLoadView(APIView):
    """POST /api/models/{id}/load: 202 while it loads, 200 where it is ready already."""

    access = WRITE_MODELS

    @extend_schema(
        operation_id="load_model",
        request=LoadSerializer,
        responses={200: OpenApiTypes.OBJECT, 202: OpenApiTypes.OBJECT},
    )
    def post(self, request: Request, slug: str) -> Response:
        model = find_model(slug, request.user, request.auth)
        body = LoadSerializer(data=request.data)
        body.is_valid(raise_exception=True)
        loaded = load_model(
            actor=request.user, model=model, options=body.options, changes=body.changes
        )
        return _under_way(request, loaded)


class ModelUnloadView(APIView):
    """POST or DELETE /api/models/{id}/unload: 200 when it is gone, 202 while requests still end."""

    access = WRITE_MODELS

    @extend_schema(
        operation_id="unload_model",
        request=None,
        responses={200: OpenApiTypes.OBJECT, 202: OpenApiTypes.OBJECT},
    )
    def post(self, request: Request, slug: str) -> Response:
        return self._unload(request, slug)

    @extend_schema(
        operation_id="unload_model_by_delete",
        request=None,
        responses={200: OpenApiTypes.OBJECT, 202: OpenApiTypes.OBJECT},
    )
    def delete(self, request: Request, slug: str) -> Response:
        return self._unload(request, slug)

    def _unload(self, request: Request, slug: str) -> Response:
        model = find_model(slug, request.user, request.auth)
        unloaded = unload_model(actor=request.user, model=model)
        release_connections()
        result = wait_until_gone(unloaded, patience=UNLOAD_PATIENCE)
        return _under_way(request, unloaded, freed_memory=result.freed_memory)


class ModelProgressView(APIView):
    """GET /api/models/{id}/progress"""

    access = READ_MODELS

    @extend_schema(operation_id="read_model_progress", responses=OpenApiTypes.OBJECT)
    def get(self, request: Request, slug: str) -> Response:
        model = find_model(slug, request.user, request.auth)
        return Response(
            {"success": True, "model": model.slug, "progress": asdict(progress_of(model))}
        )


def _described(model: Model) -> Response:
    (described,) = describe_models([model])
    return Response({"success": True, "model": described})


def _under_way(request: Request, model: Model, **fields: Any) -> Response:
    """How the model stands now, and where to read on while that is not the end."""
    progress = progress_of(model)
    address = f"{request.path.rpartition('/')[0]}/progress"
    body = {
        "success": True,
        "model": model.slug,
        "state": str(progress.state),
        "desired_state": progress.desired_state,
        "progress": asdict(progress),
        "progress_url": address,
        **fields,
    }
    if _is_done(progress):
        return Response(body)
    return Response(body, status=202, headers={"Location": address})


def _is_done(progress: ModelProgress) -> bool:
    return progress.state in (ModelState.READY, ModelState.AVAILABLE)
