from django.urls import path

from monitoring.api.views import livez, readyz
from monitoring.views import home

urlpatterns = [
    path("", home, name="home"),
    path("livez", livez, name="livez"),
    path("readyz", readyz, name="readyz"),
]
