"""Pages of plugins."""

from __future__ import annotations

from django.urls import URLPattern, path

from plugins_app.views.plugins import PluginPage, PluginsPage

urlpatterns: list[URLPattern] = [
    path("plugins", PluginsPage.as_view(), name="plugins-page"),
    path("plugins/<str:slug>", PluginPage.as_view(), name="plugin-page"),
]
