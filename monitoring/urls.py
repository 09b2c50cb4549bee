from django.urls import path

from monitoring.api.views import livez, readyz
from monitoring.views.audit import AuditPage
from monitoring.views.home import home

urlpatterns = [
    path("", home, name="home"),
    path("audit", AuditPage.as_view(), name="audit"),
    path("livez", livez, name="livez"),
    path("readyz", readyz, name="readyz"),
]
