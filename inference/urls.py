"""Pages of inference."""

from __future__ import annotations

from django.urls import URLPattern, path

from inference.views.playground import PlaygroundPage

urlpatterns: list[URLPattern] = [
    path("playground", PlaygroundPage.as_view(), name="playground"),
]
