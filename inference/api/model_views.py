"""Models over HTTP: what there is, what is loaded, and who may change that."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from drf_spectacular.utils import OpenApiParameter, PolymorphicProxySerializer, extend_schema
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from inference.api.model_filters import ModelFilters, choose_models
from inference.api.model_schemas import CHANGE, MODEL, MODELS, PROGRESS, REGISTRATIONS, REMOVED
from inference.api.model_serializers import (
    ChangeModelSerializer,
    LoadSerializer,
    RegisterModelSerializer,
    registrar_for,
)
from inference.api.upstream_serializers import RegisterRemoteSerializer
from inference.model_control import change_model, load_model, unload_model
from inference.model_progress import ModelProgress, progress_of, wait_until_gone
from inference.models import Model
from inference.services.model_pulls import cancel_pull, start_pull
from inference.services.registration import remove_model
from inference.states import ModelState
from inference.status import describe_models
from llamagpu.http.database import release_connections
from llamagpu.http.errors import AppError
from llamagpu.http.permissions import READ_MODELS, WRITE_MODELS
from llamagpu.lib.error_codes import ErrorCode

#: Seconds that a caller waits for the end of an engine: its requests have thirty to end in.
UNLOAD_PATIENCE = 40.0


class ModelsView(APIView):
    """GET, POST /api/models"""

    access = {"GET": READ_MODELS, "POST": WRITE_MODELS}

    @extend_schema(operation_id="list_models", parameters=[ModelFilters], responses=MODELS)
    def get(self, request: Request) -> Response:
        rows = Model.objects.visible_to(request.user).allowed_by(request.auth)
        models = choose_models(request, describe_models(rows))
        return Response({"success": True, "count": len(models), "models": models})

    @extend_schema(
        operation_id="register_model",
        request=PolymorphicProxySerializer(
            "RegisterAnyModel",
            [RegisterModelSerializer, RegisterRemoteSerializer],
            resource_type_field_name=None,
        ),
        examples=REGISTRATIONS,
        responses={201: MODEL},
    )
    def post(self, request: Request) -> Response:
        body = registrar_for(request.data)
        body.is_valid(raise_exception=True)
        model = body.register(request.user)
        response = _described(model)
        response.status_code = 201
        response["Location"] = f"{request.path}/{model.slug}"
        return response


class ModelView(APIView):
    """GET, PATCH, DELETE /api/models/{id}"""

    access = {"GET": READ_MODELS, "PATCH": WRITE_MODELS, "DELETE": WRITE_MODELS}

    @extend_schema(operation_id="read_model", responses=MODEL)
    def get(self, request: Request, slug: str) -> Response:
        return _described(find_any_model(slug, request.user, request.auth))

    @extend_schema(operation_id="change_model", request=ChangeModelSerializer, responses=MODEL)
    def patch(self, request: Request, slug: str) -> Response:
        model = find_any_model(slug, request.user, request.auth)
        body = ChangeModelSerializer(data=request.data)
        body.is_valid(raise_exception=True)
        return _described(change_model(actor=request.user, model=model, changes=body.changes))

    @extend_schema(
        operation_id="delete_model",
        parameters=[
            OpenApiParameter(
                "files",
                bool,
                description="delete its files too; left out: those of a pulled model alone",
            )
        ],
        responses=REMOVED,
    )
    def delete(self, request: Request, slug: str) -> Response:
        """200 when its engines are gone, 202 while requests still end."""
        model = find_any_model(slug, request.user, request.auth)
        removed = remove_model(actor=request.user, model=model, with_files=_flag(request, "files"))
        release_connections()
        result = wait_until_gone(removed, patience=UNLOAD_PATIENCE)
        body = {
            "success": True,
            "model": removed.slug,
            "state": removed.state,
            "freed_memory": result.freed_memory,
        }
        return Response(body, status=200 if result.is_gone else 202)


class ModelLoadView(APIView):
    """POST /api/models/{id}/load: 202 while it loads, 200 where it is ready already."""

    access = WRITE_MODELS

    @extend_schema(
        operation_id="load_model",
        request=LoadSerializer,
        responses=CHANGE,
    )
    def post(self, request: Request, slug: str) -> Response:
        model = find_any_model(slug, request.user, request.auth)
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
        responses=CHANGE,
    )
    def post(self, request: Request, slug: str) -> Response:
        return self._unload(request, slug)

    @extend_schema(
        operation_id="unload_model_by_delete",
        request=None,
        responses=CHANGE,
    )
    def delete(self, request: Request, slug: str) -> Response:
        return self._unload(request, slug)

    def _unload(self, request: Request, slug: str) -> Response:
        model = find_any_model(slug, request.user, request.auth)
        unloaded = unload_model(actor=request.user, model=model)
        release_connections()
        result = wait_until_gone(unloaded, patience=UNLOAD_PATIENCE)
        return _under_way(request, unloaded, freed_memory=result.freed_memory)


class ModelPullView(APIView):
    """POST /api/models/{id}/pull: 202 while it is fetched, 200 where it is whole already; DELETE ends it."""

    access = WRITE_MODELS

    @extend_schema(
        operation_id="pull_model",
        request=None,
        responses=CHANGE,
    )
    def post(self, request: Request, slug: str) -> Response:
        model = find_any_model(slug, request.user, request.auth)
        pulled = start_pull(actor=request.user, model=model)
        is_here = pulled.state == ModelState.AVAILABLE  # whether loaded or not
        return _under_way(request, pulled, is_done=is_here)

    @extend_schema(operation_id="cancel_model_pull", request=None, responses={200: MODEL})
    def delete(self, request: Request, slug: str) -> Response:
        model = find_any_model(slug, request.user, request.auth)
        return _described(cancel_pull(actor=request.user, model=model))


class ModelProgressView(APIView):
    """GET /api/models/{id}/progress: how far a pull or a load has come."""

    access = READ_MODELS

    @extend_schema(operation_id="read_model_progress", responses=PROGRESS)
    def get(self, request: Request, slug: str) -> Response:
        model = find_any_model(slug, request.user, request.auth)
        return Response(
            {"success": True, "model": model.slug, "progress": asdict(progress_of(model))}
        )


def find_any_model(slug: str, user: Any, key: Any) -> Model:
    """Also one whose files are not here. Raises AppError MODEL_NOT_FOUND."""
    model = Model.objects.visible_to(user).allowed_by(key).filter(slug=slug).first()
    if model is None:
        raise AppError(ErrorCode.MODEL_NOT_FOUND, f"There is no model '{slug}'.")
    return model


def _flag(request: Request, name: str) -> bool | None:
    """None where it is left out. Raises AppError INVALID_INPUT, also for any other parameter."""
    for given in request.query_params:
        if given != name:
            raise AppError(ErrorCode.INVALID_INPUT, f"{given}: There is no such parameter.")
    said = request.query_params.get(name)
    if said not in (None, "true", "false"):
        raise AppError(ErrorCode.INVALID_INPUT, f"{name}: Must be true or false.")
    return None if said is None else said == "true"


def _described(model: Model) -> Response:
    (described,) = describe_models([model])
    return Response({"success": True, "model": described})


def _under_way(
    request: Request, model: Model, *, is_done: bool | None = None, **fields: Any
) -> Response:
    """How the model stands now, and where to read on while that is not the end.

    `is_done` None: loaded, or not to be loaded.
    """
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
    if _is_done(progress) if is_done is None else is_done:
        return Response(body)
    return Response(body, status=202, headers={"Location": address})


def _is_done(progress: ModelProgress) -> bool:
    return progress.state in (ModelState.READY, ModelState.AVAILABLE)
