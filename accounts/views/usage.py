"""The page of usage: a chart by day, tables by model, key and user, and one's limits."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta
from typing import Any
from urllib.parse import urlencode

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils.translation import gettext, gettext_noop
from rest_framework.exceptions import ValidationError

from accounts.api.usage_filters import UsageRows, question_of
from accounts.limit_report import report_limits
from accounts.usage import UsageQuestion, UsageViewer, sum_usage, total_usage, users_with_usage
from accounts.views.caller import caller
from accounts.views.limits import words_of
from llamagpu.http.errors import AppError, as_app_error
from llamagpu.http.pages import PageView
from llamagpu.http.permissions import SignedIn

_MAX_LINES = 100
#: Title and heading of each table.
_GROUPS = {
    "user": (gettext_noop("User"), gettext_noop("By user")),
    "model": (gettext_noop("Model"), gettext_noop("By model")),
    "key": (gettext_noop("API key"), gettext_noop("By key")),
    "day": (gettext_noop("Day"), gettext_noop("By day")),
}
_MAX_NAMES = 500
_FILTERS = ("from", "to", "user", "model", "key")


class UsagePage(PageView):
    """One's own usage; who may read the system configuration chooses whose."""

    access = SignedIn()

    def get(self, request: HttpRequest) -> HttpResponse:
        viewer = UsageViewer(caller(request))
        try:
            question, problem = _read_question(request, viewer), None
            rows = viewer.choose(question)
        except (AppError, ValidationError) as error:
            question, problem = _own_usage(viewer), as_app_error(error)
            rows = viewer.choose(question)
        context = {
            "question": question,
            "problem": problem,
            "whose": question.user or gettext("everybody"),
            "names": users_with_usage(viewer.rows, _MAX_NAMES) if viewer.sees_everybody else None,
            "totals": total_usage(rows),
            "series": _series(question, sum_usage(rows, ["day"], 400)),
            "tables": list(_tables(rows, is_shared=not question.user)),
            "download": _download(question),
            "limits": _limit_lines(report_limits(request, viewer.user, None)),
        }
        status = problem.code.http_status if problem else 200
        return render(request, "accounts/usage.html", context, status=status)


def _read_question(request: HttpRequest, viewer: UsageViewer) -> UsageQuestion:
    """What the form asks: a field that is left empty asks nothing. Raises ValidationError."""
    given = {name: value for name in _FILTERS if (value := request.GET.get(name, "").strip())}
    if not given and not request.GET:
        return _own_usage(viewer)
    filters = UsageRows(data=given)
    filters.is_valid(raise_exception=True)
    if not viewer.sees_everybody:
        filters.validated_data.setdefault("user", viewer.user.username)
    return question_of(filters.validated_data)


def _own_usage(viewer: UsageViewer) -> UsageQuestion:
    filters = UsageRows(data={"user": viewer.user.username})
    filters.is_valid(raise_exception=True)
    return question_of(filters.validated_data)


def _series(question: UsageQuestion, days: list[dict[str, Any]]) -> dict[str, list[Any]]:
    """What the chart draws: every day of the period, also those without use."""
    by_day = {row["day"]: row for row in days}
    period = (question.last - question.first).days + 1
    names = [str(question.first + timedelta(days=number)) for number in range(period)]
    return {
        "days": names,
        "prompt": [by_day[name]["prompt_tokens"] if name in by_day else 0 for name in names],
        "completion": [
            by_day[name]["completion_tokens"] if name in by_day else 0 for name in names
        ],
    }


def _tables(rows: Any, *, is_shared: bool) -> Iterable[dict[str, Any]]:
    for group, (title, heading) in _GROUPS.items():
        if group == "user" and not is_shared:
            continue
        lines = sum_usage(rows, [group], _MAX_LINES + 1)
        if group == "day":
            lines = lines[::-1]
        shown = [{"label": line[group], **line} for line in lines[:_MAX_LINES]]
        yield {
            "group": group,
            "title": title,
            "heading": heading,
            "lines": shown,
            "is_cut": len(lines) > _MAX_LINES,
        }


def _limit_lines(limits: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Each limit in words, with what its bar shows."""
    lines = []
    for limit in limits:
        taken = (limit["used"] or 0) + limit["reserved"]
        lines.append(
            {
                **limit,
                "title": words_of(limit["limit"]),
                "taken": taken,
                "high": limit["value"] * 8 // 10,
            }
        )
    return lines


def _download(question: UsageQuestion) -> str:
    """The query string under which the API gives the same rows as CSV."""
    chosen = {
        "from": question.first,
        "to": question.last,
        "user": question.user,
        "model": question.model,
        "key": question.key,
    }
    fields = {name: str(value) for name, value in chosen.items() if value}
    return urlencode({**fields, "group_by": "day,user,key,model", "format": "csv"})
