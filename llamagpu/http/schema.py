"""The API's own description: OpenAPI at `schema/`, for people at `docs/`."""

from typing import Any

from django.urls import path
from drf_spectacular.views import SpectacularAPIView

from llamagpu.http.reference.pages import DESCRIBED, ReferenceGroupPage, ReferencePage


class SchemaView(SpectacularAPIView):
    access = DESCRIBED


def without_alias(endpoints: list[tuple[str, Any, str, Any]]) -> list[tuple[str, Any, str, Any]]:
    """`/api/v1/` repeats `/api/`: the description lists each call once."""
    return [endpoint for endpoint in endpoints if not endpoint[0].startswith("/api/v1/")]


urlpatterns = [
    path("schema/", SchemaView.as_view(), name="schema"),
    path("docs/", ReferencePage.as_view(), name="docs"),
    path("docs/<slug:slug>/", ReferenceGroupPage.as_view(), name="docs-group"),
]
