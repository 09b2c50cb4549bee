"""`/v1/files`: what batches are read from, and what they leave."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import IO, Any

from asgiref.sync import sync_to_async
from django.http import HttpResponseBase, StreamingHttpResponse
from django.utils.http import content_disposition_header
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.negotiation import DefaultContentNegotiation
from rest_framework.renderers import JSONRenderer
from rest_framework.request import Request
from rest_framework.response import Response

from inference.file_store import path_of
from inference.models import StoredFile
from inference.openai_api.fields import problem
from inference.openai_api.file_fields import (
    FILE_PREFIX,
    LIST_SCHEMA,
    FileDeletedSerializer,
    FileListSerializer,
    FileObjectSerializer,
    check_parameters,
    file_fields,
    file_name_of,
    find_file,
    list_page,
)
from inference.openai_api.file_upload import FileSerializer, UploadParser, read_upload
from inference.openai_api.views import OpenAIView
from inference.services.files import INPUT, OUTPUT, delete_file, store_file
from llamagpu.http.errors import AppError
from llamagpu.http.permissions import INFER_BATCH, LimitGroup
from llamagpu.lib.error_codes import ErrorCode

_LIST_PARAMETERS = ("after", "limit", "order", "purpose")
_MOST_FILES = 10_000
# Bytes that are read at once.
_READ = 256 * 1024


class _AnyAccepted(DefaultContentNegotiation):
    def select_renderer(
        self, request: Request, renderers: Any, format_suffix: str | None = None
    ) -> Any:
        renderer = next(iter(renderers))
        return renderer, renderer.media_type


class PlainView(OpenAIView):
    """Nothing is streamed as events: answers and errors are JSON, whatever a client accepts."""

    renderer_classes = [JSONRenderer]
    content_negotiation_class = _AnyAccepted


class FilesView(PlainView):
    """GET and POST /v1/files"""

    access = INFER_BATCH
    parser_classes = [UploadParser]

    @property
    def limit_group(self) -> LimitGroup:
        return LimitGroup.BATCH if self.request.method == "POST" else LimitGroup.SYSTEM

    @extend_schema(
        operation_id="create_file",
        request={"multipart/form-data": FileSerializer},
        responses=FileObjectSerializer,
    )
    def post(self, request: Request) -> Response:
        upload = read_upload(request)
        row = store_file(
            owner=request.user,
            draft=upload.draft,
            filename=upload.filename,
            purpose=upload.purpose,
            lifetime=upload.lifetime,
        )
        return Response(file_fields(row))

    @extend_schema(
        operation_id="list_files",
        parameters=[
            *LIST_SCHEMA,
            OpenApiParameter("order", str, enum=["asc", "desc"], description="by creation"),
            OpenApiParameter("purpose", str, enum=[INPUT, OUTPUT]),
        ],
        responses=FileListSerializer,
    )
    def get(self, request: Request) -> Response:
        check_parameters(request, _LIST_PARAMETERS)
        rows = StoredFile.objects.visible_to(request.user)
        if (purpose := request.query_params.get("purpose")) is not None:
            if purpose not in (INPUT, OUTPUT):
                raise problem("purpose", f"Must be {INPUT} or {OUTPUT}.")
            rows = rows.filter(purpose=purpose)
        page = list_page(
            request, rows, file_fields, prefix=FILE_PREFIX, default=1000, most=_MOST_FILES
        )
        return Response(page)


class FileView(PlainView):
    """GET and DELETE /v1/files/{id}"""

    access = INFER_BATCH

    @extend_schema(operation_id="read_file", responses=FileObjectSerializer)
    def get(self, request: Request, name: str) -> Response:
        return Response(file_fields(find_file(request.user, name)))

    @extend_schema(operation_id="delete_file", responses={200: FileDeletedSerializer})
    def delete(self, request: Request, name: str) -> Response:
        row = find_file(request.user, name)
        delete_file(actor=request.user, row=row)
        return Response({"id": file_name_of(row.pk), "object": "file", "deleted": True})


class FileContentView(PlainView):
    """GET /v1/files/{id}/content"""

    access = INFER_BATCH

    @extend_schema(
        operation_id="read_file_content",
        responses={(200, "application/octet-stream"): OpenApiTypes.BINARY},
    )
    def get(self, request: Request, name: str) -> HttpResponseBase:
        row = find_file(request.user, name)
        try:
            file = path_of(row.pk).open("rb")
        except FileNotFoundError as error:
            raise AppError(ErrorCode.NOT_FOUND, f"There is no file '{name}'.") from error
        response = StreamingHttpResponse(
            _chunks_of(file),
            content_type="application/octet-stream",
            headers={
                "Content-Length": str(row.num_bytes),
                "Content-Disposition": content_disposition_header(True, row.filename),
            },
        )
        response._resource_closers.append(file.close)  # type: ignore[attr-defined]
        return response


async def _chunks_of(file: IO[bytes]) -> AsyncIterator[bytes]:
    read = sync_to_async(file.read, thread_sensitive=False)
    with file:
        while chunk := await read(_READ):
            yield chunk
