"""The API's own description: OpenAPI at `schema/`, browsable offline at `docs/`."""

from django.urls import path
from drf_spectacular.views import SpectacularAPIView, SpectacularSwaggerSplitView

from llamagpu.http.permissions import Public

_OPEN = Public("The description of the API holds no data of the installation.")


class SchemaView(SpectacularAPIView):
    access = _OPEN


class DocsView(SpectacularSwaggerSplitView):
    access = _OPEN
    url_name = "schema"


urlpatterns = [
    path("schema/", SchemaView.as_view(), name="schema"),
    path("docs/", DocsView.as_view(), name="docs"),
]
