"""Lists in pages that stay right while rows come and go: `{"success", "results", "next", "previous"}`.

`next` and `previous` are complete addresses, or null at an end; `limit` sets the size of a page.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from django.core.exceptions import ValidationError as ModelValidationError
from django.db import DataError
from django.db.models import QuerySet
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter
from rest_framework.exceptions import NotFound, ValidationError
from rest_framework.pagination import CursorPagination
from rest_framework.request import Request
from rest_framework.response import Response

DEFAULT_LIMIT = 50
MAX_LIMIT = 200

#: Query parameters of every list; a list's own filters must not be named like them.
PAGE_PARAMETERS = ("cursor", "limit")
#: The same for the API's description.
PAGE_SCHEMA = [
    OpenApiParameter("cursor", OpenApiTypes.STR, description="from `next` or `previous`"),
    OpenApiParameter("limit", OpenApiTypes.INT, description=f"rows a page, at most {MAX_LIMIT}"),
]


# What a database field says to a position that it cannot hold.
_BAD_POSITION = (ModelValidationError, DataError)


class CursorPages(CursorPagination):
    """Pages by position, not by number. A cursor or limit that cannot be used is refused by name."""

    page_size = DEFAULT_LIMIT
    max_page_size = MAX_LIMIT
    page_size_query_param = "limit"

    def __init__(self, ordering: Sequence[str] = ("-id",)) -> None:
        super().__init__()
        self.ordering = tuple(ordering)

    def get_ordering(self, request: Request, queryset: Any, view: Any) -> Any:
        return self.ordering

    def get_page_size(self, request: Request) -> int:
        text = request.query_params.get("limit")
        if text is None:
            return DEFAULT_LIMIT
        if not (
            text.isascii() and text.isdigit() and len(text) < 9 and 1 <= int(text) <= MAX_LIMIT
        ):
            raise ValidationError({"limit": [f"Must be a whole number from 1 to {MAX_LIMIT}."]})
        return int(text)

    def paginate_queryset(self, queryset: Any, request: Request, view: Any = None) -> list[Any]:
        try:
            return super().paginate_queryset(queryset, request, view) or []
        except (NotFound, ValueError, TypeError, OverflowError, *_BAD_POSITION) as error:
            raise ValidationError(
                {"cursor": ["Is not one of this list: begin without a cursor."]}
            ) from error

    def get_paginated_response(self, data: Any) -> Response:
        return Response(
            {
                "success": True,
                "results": data,
                "next": self.get_next_link(),
                "previous": self.get_previous_link(),
            }
        )


def page_response(
    request: Request,
    queryset: QuerySet[Any],
    describe: Callable[[Any], Any],
    *,
    ordering: Sequence[str] = ("-id",),
) -> Response:
    """One page of `queryset`, each row shaped by `describe`.

    The first field of `ordering` should be (nearly) unique and never null. Raises ValidationError.
    """
    pages = CursorPages(ordering)
    rows = pages.paginate_queryset(queryset, request)
    return pages.get_paginated_response([describe(row) for row in rows])
