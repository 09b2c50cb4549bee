"""The system configuration for people: every setting, where its value comes from, a form for Admins."""

from __future__ import annotations

from itertools import groupby
from typing import Any

from django.contrib import messages
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect, QueryDict
from django.shortcuts import render
from django.urls import reverse
from django.utils.translation import gettext

from llamagpu.http.errors import AppError
from llamagpu.http.pages import PageView
from llamagpu.http.permissions import READ_SYSTEM, WRITE_SYSTEM, allows
from llamagpu.lib.setting_fields import FIELD_BY_NAME
from monitoring.configuration_listing import list_settings
from monitoring.services.configuration import change_configuration


class ConfigurationPage(PageView):
    """GET and POST /settings"""

    access = {"GET": READ_SYSTEM, "POST": WRITE_SYSTEM}
    http_method_names = ["get", "head", "post", "options"]

    def get(self, request: HttpRequest) -> HttpResponse:
        return _page(request)

    def post(self, request: HttpRequest) -> HttpResponse:
        changes = _changes(request.POST)
        if not changes:
            messages.info(request, gettext("Nothing was changed."))
            return HttpResponseRedirect(reverse("system-config"))
        try:
            changed = change_configuration(actor=request.user, changes=changes)
        except AppError as error:
            return _page(request, error)
        if changed:
            words = gettext("Changed: %(names)s.") % {"names": ", ".join(changed)}
            messages.success(request, words)
        return HttpResponseRedirect(reverse("system-config"))


def _changes(form: QueryDict) -> dict[str, Any]:
    """What differs from what the page showed, as JSON values by name; None where it is reset."""
    changes: dict[str, Any] = {}
    for name, field in FIELD_BY_NAME.items():
        if form.get("reset") == name:
            return {name: None}
        typed = form.get(name)
        if typed is not None and typed.strip() != form.get(f"was-{name}", "").strip():
            changes[name] = field.kind.from_form(typed.strip())
    return changes


def _page(request: HttpRequest, error: AppError | None = None) -> HttpResponse:
    details = (error.details or []) if error else []
    problems = {problem["field"]: problem["message"] for problem in details}
    rows = [_row(setting, request.POST, problems) for setting in list_settings()]
    groups = [(name, list(members)) for name, members in groupby(rows, lambda row: row["group"])]
    context = {
        "groups": groups,
        "may_write": allows(WRITE_SYSTEM, request.user, None),
        "error": error.message if error else "",
    }
    status = 200 if error is None else error.code.http_status
    return render(request, "monitoring/configuration.html", context, status=status)


def _row(setting: dict[str, Any], form: QueryDict, problems: dict[str, str]) -> dict[str, Any]:
    shown = _as_text(setting["value"])
    return {
        **setting,
        "text": shown,
        "typed": form.get(setting["name"], shown),
        "default_text": _as_text(setting["default"]),
        "problem": problems.get(setting["name"], ""),
    }


def _as_text(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, list):
        return ", ".join(str(member) for member in value)
    return str(value).lower() if isinstance(value, bool) else str(value)
