"""The log for people: filters, and a tail that follows by itself."""

from __future__ import annotations

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render

from llamagpu.http.pages import PageView
from llamagpu.http.permissions import READ_SYSTEM
from monitoring.logs.reading import COMPONENTS, LEVELS

_FILTERS = ("level", "component", "text", "request_id")


class LogsPage(PageView):
    """GET /logs: the lines come by the API."""

    access = READ_SYSTEM
    http_method_names = ["get", "head", "options"]

    def get(self, request: HttpRequest) -> HttpResponse:
        values = {name: request.GET.get(name, "")[:200] for name in _FILTERS}
        context = {"levels": LEVELS, "components": COMPONENTS, "values": values}
        return render(request, "monitoring/logs.html", context)
