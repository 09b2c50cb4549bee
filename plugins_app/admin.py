from __future__ import annotations

from django.contrib import admin

from llamagpu.http.model_admin import ReadOnlyModelAdmin
from plugins_app.models import Plugin, PluginSettings


@admin.register(Plugin)
class PluginAdmin(ReadOnlyModelAdmin):
    list_display = ["slug", "tier", "state", "is_enabled", "order", "version", "category"]
    list_filter = ["tier", "category", "state", "is_enabled"]
    search_fields = ["slug", "name", "author"]
    fields = [
        "slug", "name", "version", "author", "description", "tier", "category", "state", "problem",
        "path", "sha256", "approved_sha256", "approved_by", "approved_at",
    ]  # fmt: skip


@admin.register(PluginSettings)
class PluginSettingsAdmin(ReadOnlyModelAdmin):
    list_display = ["plugin", "number", "actor_name", "created_at"]
    search_fields = ["plugin__slug", "actor_name"]
    list_select_related = ["plugin"]
    fields = ["plugin", "number", "actor_name", "created_at"]
