"""`/api/docs/`: what there is to call, and a page for each group of calls."""

from __future__ import annotations

from typing import Any

from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import render
from django.urls import reverse
from drf_spectacular.generators import SchemaGenerator
from rest_framework.request import Request

from llamagpu.http.pages import PageView
from llamagpu.http.permissions import Public
from llamagpu.http.reference.operations import Group, read_groups

DESCRIBED = Public("The description of the API holds no data of the installation.")
_MAX_WORDS = 100


class ReferencePage(PageView):
    """GET /api/docs/: the groups and their calls; `?q=` leaves those that have these words."""

    access = DESCRIBED
    http_method_names = ["get", "head", "options"]

    def get(self, request: HttpRequest) -> HttpResponse:
        words = request.GET.get("q", "").strip()[:_MAX_WORDS]
        groups = [group.filtered(words) for group in groups_for(request)]
        context = {
            "groups": [group for group in groups if group.operations],
            "words": words,
            "schema_url": request.build_absolute_uri(reverse("schema")),
        }
        return render(request, "llamagpu/api_docs.html", context)


class ReferenceGroupPage(PageView):
    """GET /api/docs/{group}/: all that there is to know about its calls, to be tried at once."""

    access = DESCRIBED
    http_method_names = ["get", "head", "options"]

    def get(self, request: HttpRequest, slug: str) -> HttpResponse:
        groups = groups_for(request)
        group = next((group for group in groups if group.slug == slug), None)
        if group is None:
            raise Http404
        base = request.build_absolute_uri("/")
        context = {
            "groups": groups,
            "group": group,
            "operations": [(operation, operation.curl(base)) for operation in group.operations],
        }
        return render(request, "llamagpu/api_docs_group.html", context)


def groups_for(request: HttpRequest) -> list[Group]:
    """What the caller may call; strangers see what is open to everybody."""
    asked = Request(request)
    user: Any = request.user
    asked.user, asked.auth = user, None  # a session's
    return read_groups(SchemaGenerator().get_schema(request=asked, public=False))
