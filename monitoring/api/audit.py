"""Edges of the audit log: `/api/audit`, `/api/audit/export`."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime
from typing import Any

from asgiref.sync import sync_to_async
from django.http import HttpResponseBase, StreamingHttpResponse
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from llamagpu.http.database import release_connections
from llamagpu.http.filters import read_filters
from llamagpu.http.pagination import PAGE_SCHEMA, page_response
from llamagpu.http.permissions import READ_AUDIT
from monitoring.api.answer_schemas import AUDIT_ROWS
from monitoring.api.audit_filters import AuditExportFilters, AuditFilters
from monitoring.audit_shapes import csv_head, csv_row, json_line, shape_row
from monitoring.models import AuditLog
from monitoring.querysets import AuditLogQuerySet
from monitoring.services.audit_export import begin_export

_BATCH = 500


class AuditView(APIView):
    """GET /api/audit"""

    access = READ_AUDIT

    @extend_schema(
        operation_id="list_audit_rows",
        parameters=[AuditFilters, *PAGE_SCHEMA],
        responses=AUDIT_ROWS,
    )
    def get(self, request: Request) -> Response:
        filters = read_filters(request, AuditFilters)
        rows = AuditLog.objects.visible_to(request.user).matching(filters)
        return page_response(request, rows, shape_row)


class AuditExportView(APIView):
    """GET /api/audit/export"""

    access = READ_AUDIT

    @extend_schema(
        operation_id="export_audit_rows",
        parameters=[AuditExportFilters],
        responses={
            (200, "application/jsonl"): OpenApiTypes.STR,
            (200, "text/csv"): OpenApiTypes.STR,
        },
    )
    def get(self, request: Request) -> HttpResponseBase:
        filters = read_filters(request, AuditExportFilters)
        form = filters.pop("as")
        rows = begin_export(actor=request.user, filters=filters, form=form)
        return _file(rows, form)

    def perform_content_negotiation(self, request: Request, force: bool = False) -> Any:
        """Whatever is accepted: the answer's form is asked for by `as`."""
        return super().perform_content_negotiation(request, force=True)


def _file(rows: AuditLogQuerySet, form: str) -> StreamingHttpResponse:
    head, shape, content_type = (
        (csv_head(), csv_row, "text/csv; charset=utf-8")
        if form == "csv"
        else ("", json_line, "application/jsonl")
    )
    name = f"audit-{datetime.now(tz=UTC):%Y%m%dT%H%M%SZ}.{form}"
    return StreamingHttpResponse(
        _lines(rows, head, shape),
        content_type=content_type,
        headers={
            "Content-Disposition": f'attachment; filename="{name}"',
            "Cache-Control": "no-store",
        },
    )


async def _lines(
    rows: AuditLogQuerySet, head: str, shape: Callable[[AuditLog], str]
) -> AsyncIterator[str]:
    """Batch by batch, oldest first: an export needs neither much memory nor a held connection."""
    if head:
        yield head
    at = 0
    while batch := await sync_to_async(_read)(rows, at):
        yield "".join(shape(row) for row in batch)
        at = batch[-1].pk


def _read(rows: AuditLogQuerySet, at: int) -> list[AuditLog]:
    try:
        return list(rows.filter(id__gt=at).order_by("id")[:_BATCH])
    finally:
        release_connections()
