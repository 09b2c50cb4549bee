"""Files as clients of OpenAI's API read them, and the lists that they turn pages of."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from datetime import datetime
from typing import Any

from django.db.models import Q, QuerySet
from drf_spectacular.utils import OpenApiParameter
from rest_framework import serializers
from rest_framework.request import Request

from inference.models import StoredFile
from inference.openai_api.fields import problem
from inference.services.files import INPUT, OUTPUT
from llamagpu.http.errors import AppError
from llamagpu.http.schema_words import answered
from llamagpu.lib.error_codes import ErrorCode

FILE_PREFIX = "file-"
#: Query parameters by which lists are read on.
LIST_SCHEMA = [
    OpenApiParameter("after", str, description="id of the last one of the page before"),
    OpenApiParameter("limit", int, description="rows a page"),
]
_FILE = {
    "id": "file-0f3c6f0e8d5b4a5d9a3c1f0b7a1e2d3c",
    "object": "file",
    "bytes": 1204,
    "created_at": 1790000000,
    "expires_at": 1792592000,
    "filename": "questions.jsonl",
    "purpose": "batch",
    "status": "processed",
}


@answered(_FILE)
class FileObjectSerializer(serializers.Serializer[Any]):
    """A file. Times are seconds since 1970."""

    id = serializers.CharField()
    object = serializers.ChoiceField(choices=["file"])
    bytes = serializers.IntegerField()
    created_at = serializers.IntegerField()
    expires_at = serializers.IntegerField(allow_null=True)
    filename = serializers.CharField()
    purpose = serializers.ChoiceField(choices=[INPUT, OUTPUT])
    status = serializers.ChoiceField(choices=["processed"])


@answered(
    {
        "object": "list",
        "data": [_FILE],
        "first_id": _FILE["id"],
        "last_id": _FILE["id"],
        "has_more": False,
    }
)
class FileListSerializer(serializers.Serializer[Any]):
    """One page of files."""

    object = serializers.ChoiceField(choices=["list"])
    data = FileObjectSerializer(many=True)  # type: ignore[assignment]
    first_id = serializers.CharField(allow_null=True)
    last_id = serializers.CharField(allow_null=True)
    has_more = serializers.BooleanField()


@answered({"id": "file-0f3c6f0e8d5b4a5d9a3c1f0b7a1e2d3c", "object": "file", "deleted": True})
class FileDeletedSerializer(serializers.Serializer[Any]):
    """What a deletion answers."""

    id = serializers.CharField()
    object = serializers.ChoiceField(choices=["file"])
    deleted = serializers.BooleanField()


def file_name_of(file_id: uuid.UUID | None) -> str | None:
    """An id as clients know it."""
    return None if file_id is None else f"{FILE_PREFIX}{file_id.hex}"


def file_fields(row: StoredFile) -> dict[str, Any]:
    return {
        "id": file_name_of(row.pk),
        "object": "file",
        "bytes": row.num_bytes,
        "created_at": seconds_of(row.created_at),
        "expires_at": seconds_of(row.expires_at),
        "filename": row.filename,
        "purpose": row.purpose,
        "status": "processed",
    }


def seconds_of(moment: datetime | None) -> int | None:
    return None if moment is None else int(moment.timestamp())


def find_file(user: Any, name: str) -> StoredFile:
    """Raises AppError NOT_FOUND, also for a file that is another's."""
    file_id = id_in(name, FILE_PREFIX)
    row = StoredFile.objects.visible_to(user).filter(pk=file_id).first() if file_id else None
    if row is None:
        raise AppError(ErrorCode.NOT_FOUND, f"There is no file '{name[:64]}'.")
    return row


def id_in(name: str, prefix: str) -> uuid.UUID | None:
    """The id in a name such as `file-0f3c…`; None for any other text."""
    digits = name.removeprefix(prefix)
    if not name.startswith(prefix) or len(digits) != 32:
        return None
    try:
        return uuid.UUID(hex=digits)
    except ValueError:
        return None


def check_parameters(request: Request, allowed: tuple[str, ...]) -> None:
    """Raises ValidationError for query parameters that a list does not have."""
    for name in request.query_params:
        if name not in allowed:
            raise problem(name[:64], "Unknown parameter: it is refused rather than ignored.")


def list_page(
    request: Request,
    rows: QuerySet[Any],
    describe: Callable[[Any], dict[str, Any]],
    *,
    prefix: str,
    default: int,
    most: int,
) -> dict[str, Any]:
    """One page of `rows`, newest first unless `order` is asc. Raises ValidationError."""
    limit = _limit_of(request, default, most)
    order = request.query_params.get("order", "desc")
    if order not in ("asc", "desc"):
        raise problem("order", "Must be asc or desc.")
    sign, side = ("", "gt") if order == "asc" else ("-", "lt")
    if after := request.query_params.get("after"):
        last = rows.filter(pk=id_in(after, prefix)).first()
        if last is None:
            raise problem("after", "Is not an id of this list.")
        rows = rows.filter(
            Q(**{f"created_at__{side}": last.created_at})
            | Q(created_at=last.created_at, **{f"pk__{side}": last.pk})
        )
    found = list(rows.order_by(f"{sign}created_at", f"{sign}pk")[: limit + 1])
    page = [describe(row) for row in found[:limit]]
    return {
        "object": "list",
        "data": page,
        "first_id": page[0]["id"] if page else None,
        "last_id": page[-1]["id"] if page else None,
        "has_more": len(found) > limit,
    }


def _limit_of(request: Request, default: int, most: int) -> int:
    text = request.query_params.get("limit")
    if text is None:
        return default
    if not (text.isascii() and text.isdigit() and len(text) < 9 and 1 <= int(text) <= most):
        raise problem("limit", f"Must be a whole number from 1 to {most}.")
    return int(text)
