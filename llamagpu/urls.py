"""Every address of the site. `/api/v1/` is an alias of `/api/`; `/v1/` is OpenAI's API."""

from django.contrib import admin
from django.urls import include, path

from llamagpu.http import error_views
from llamagpu.http.language import choose_language

_api = [
    path("", include("inference.api.urls")),
    path("", include("plugins_app.api.urls")),
    path("", include("accounts.api.urls")),
    path("", include("monitoring.api.urls")),
    path("", include("llamagpu.http.schema")),
]

urlpatterns = [
    path("api/v1/", include(_api)),
    path("api/", include(_api)),  # the later one is the one that names lead to
    path("v1/", include("inference.openai_api.urls")),
    path("", include("llamagpu.http.offline")),
    path("language", choose_language, name="language"),
    path("", include("accounts.urls")),
    path("", include("inference.urls")),
    path("", include("plugins_app.urls")),
    path("", include("monitoring.urls")),
    path("admin/", admin.site.urls),
]

handler400 = error_views.bad_request
handler403 = error_views.permission_denied
handler404 = error_views.not_found
handler500 = error_views.server_error
