"""The audit log for people: who did what, what it was before and after, whether the log is whole."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlencode

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render

from llamagpu.http.pages import PageView
from llamagpu.http.permissions import READ_AUDIT
from monitoring.api.audit_filters import AuditFilters
from monitoring.audit_actions import AuditAction, Outcome
from monitoring.audit_shapes import details, differences, last_verification
from monitoring.models import AuditLog
from monitoring.querysets import AuditLogQuerySet

_PAGE = 50
_MORE = ("actor", "target_type", "target_id", "ip", "key", "request_id", "since", "until")


class AuditPage(PageView):
    """GET /audit: newest first, older ones by `before=<id>`."""

    access = READ_AUDIT
    http_method_names = ["get", "head", "options"]

    def get(self, request: HttpRequest) -> HttpResponse:
        given = {name: text for name, text in request.GET.items() if text and name != "before"}
        checked = AuditFilters(data=given)
        rows: AuditLogQuerySet = AuditLog.objects.visible_to(request.user)
        rows = rows.matching(checked.validated_data) if checked.is_valid() else rows.none()
        before = request.GET.get("before", "")
        if before.isascii() and before.isdigit() and len(before) < 19:
            rows = rows.filter(id__lt=int(before))
        page = list(rows.order_by("-id")[: _PAGE + 1])
        query = urlencode(given)
        return render(
            request,
            "monitoring/audit.html",
            {
                "entries": [_entry(row) for row in page[:_PAGE]],
                "older": f"?{urlencode({**given, 'before': page[_PAGE - 1].pk})}"
                if len(page) > _PAGE
                else "",
                "newest": f"?{query}" if before else "",
                "query": query,
                "values": given,
                "problems": _problems(checked),
                "is_narrowed": any(name in given for name in _MORE),
                "actions": [word.value for word in AuditAction],
                "outcomes": [word.value for word in Outcome],
                "verification": last_verification(),
            },
        )


def _entry(row: AuditLog) -> dict[str, Any]:
    return {"row": row, "differences": differences(row), "details": details(row)}


def _problems(checked: AuditFilters) -> list[str]:
    return [
        f"{name}: {' '.join(str(problem) for problem in found)}"
        for name, found in checked.errors.items()
    ]
