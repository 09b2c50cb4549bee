"""The API's own description: OpenAPI at `schema/`, browsable offline at `docs/`."""

from typing import Any

from django.urls import path
from drf_spectacular.views import SpectacularAPIView, SpectacularSwaggerSplitView

from llamagpu.http.permissions import Public

_OPEN = Public("The description of the API holds no data of the installation.")


class SchemaView(SpectacularAPIView):
    access = _OPEN


class DocsView(SpectacularSwaggerSplitView):
    access = _OPEN
    url_name = "schema"
    template_name = "llamagpu/api_docs.html"


def without_alias(endpoints: list[tuple[str, Any, str, Any]]) -> list[tuple[str, Any, str, Any]]:
    """`/api/v1/` repeats `/api/`: the description lists each call once."""
    return [endpoint for endpoint in endpoints if not endpoint[0].startswith("/api/v1/")]


urlpatterns = [
    path("schema/", SchemaView.as_view(), name="schema"),
    path("docs/", DocsView.as_view(), name="docs"),
]
