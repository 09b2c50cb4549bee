from __future__ import annotations

import json
from typing import Any

from django import forms
from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest

from accounts.models import Role
from llamagpu.http.model_admin import PortalModelAdmin, ReadOnlyModelAdmin
from plugins_app.description import describe_change
from plugins_app.models import Plugin, PluginSettings
from plugins_app.sealed_settings import shown_settings
from plugins_app.services.approval import approve_plugin
from plugins_app.services.arrangement import change_plugin
from plugins_app.services.configuration import configure_plugin
from plugins_app.services.lifecycle import disable_plugin, enable_plugin, reload_plugin
from plugins_app.standing import live_reports, standing_of

_FACTS = (
    "slug", "name", "version", "author", "description", "tier", "category", "path", "metadata",
)  # fmt: skip
_STANDING = (
    "state_now", "problem", "is_enabled", "sha256", "approved_sha256", "approved_by", "approved_at",
    "generation",
)  # fmt: skip
# Columns by the name that the service knows.
_CHANGEABLE = {
    "order": "order",
    "policy": "policy",
    "models": "for_models",
    "roles": "for_roles",
    "budget": "budget",
}

# What an empty field of the form means.
_EMPTY: dict[str, Any] = {"order": 0, "policy": "", "models": [], "roles": [], "budget": {}}


class PluginForm(forms.ModelForm):  # type: ignore[type-arg]  # generic in the stubs alone
    """Settings are edited as JSON, secrets null: what is left null stays."""

    for_models = forms.JSONField(required=False, help_text="slugs; empty: it applies to all")
    for_roles = forms.MultipleChoiceField(
        required=False, widget=forms.CheckboxSelectMultiple, help_text="none: it applies to all"
    )
    budget = forms.JSONField(required=False, help_text="limits other than the usual")
    settings = forms.JSONField(
        required=False, help_text="by its schema; secrets are null, and stay when left so"
    )

    class Meta:
        model = Plugin
        fields = ["order", "policy", "budget"]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        row = self.instance
        slugs = Role.objects.values_list("slug", flat=True)
        roles: Any = self.fields["for_roles"]
        roles.choices = [(slug, slug) for slug in slugs]
        self.initial.update(
            for_models=row.for_models,
            for_roles=row.for_roles,
            settings=shown_settings(row.settings_schema, row.config),
        )


@admin.register(Plugin)
class PluginAdmin(PortalModelAdmin):
    """What stands in the files is read only: rows follow them. How a plugin is run is not."""

    form = PluginForm
    list_display = [
        "slug", "tier", "state_now", "is_enabled", "order", "version", "category", "policy",
        "problem",
    ]  # fmt: skip
    list_filter = ["tier", "category", "state", "is_enabled"]
    search_fields = ["slug", "name", "author", "description"]
    list_select_related = ["approved_by"]
    actions = ["load", "unload", "reload", "approve"]
    fieldsets = [
        ("Service", {"fields": ["order", "policy", "for_models", "for_roles", "budget"]}),
        ("Settings", {"fields": ["settings", "schema"]}),
        ("Now", {"fields": _STANDING}),
        ("Files", {"fields": _FACTS}),
    ]
    readonly_fields = ["schema", *_STANDING, *_FACTS]

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def get_fieldsets(self, request: HttpRequest, obj: Any = None) -> Any:
        """Who may only read sees neither settings nor paths, as in the API."""
        if self.has_change_permission(request, obj):
            return super().get_fieldsets(request, obj)
        facts = [name for name in _FACTS if name != "path"]
        return [("Now", {"fields": _STANDING}), ("Files", {"fields": facts})]

    def save_model(self, request: HttpRequest, obj: Plugin, form: Any, change: bool) -> None:
        fields = form.cleaned_data
        changes = {
            name: _EMPTY[name] if fields[column] is None else fields[column]
            for name, column in _CHANGEABLE.items()
            if column in form.changed_data
        }
        row = Plugin.objects.get(pk=obj.pk)
        if changes:
            row = change_plugin(actor=request.user, plugin=row, changes=changes)
        if "settings" in form.changed_data:
            configure_plugin(actor=request.user, plugin=row, config=fields["settings"] or {})

    def get_changelist_instance(self, request: HttpRequest) -> Any:
        """The list, with what the workers report of its rows, asked once."""
        changes = super().get_changelist_instance(request)
        rows, reports = list(changes.result_list), live_reports()
        for row in rows:
            row.standing = standing_of(row, reports)
        changes.result_list = rows
        return changes

    @admin.display(description="state now")
    def state_now(self, row: Plugin) -> str:
        standing = getattr(row, "standing", None) or standing_of(row, live_reports())
        state: str = standing.state.value
        return f"{state}: {standing.error}" if standing.error else state

    @admin.display(description="schema of its settings")
    def schema(self, row: Plugin) -> str:
        return json.dumps(row.settings_schema, indent=2) if row.settings_schema else "-"

    @admin.action(description="Load the selected plugins", permissions=["change"])
    def load(self, request: HttpRequest, rows: QuerySet[Plugin]) -> None:
        self.act_on_each(
            request, rows, lambda row: enable_plugin(actor=request.user, plugin=row), "being loaded"
        )

    @admin.action(description="Unload the selected plugins", permissions=["change"])
    def unload(self, request: HttpRequest, rows: QuerySet[Plugin]) -> None:
        self.act_on_each(
            request,
            rows,
            lambda row: disable_plugin(actor=request.user, plugin=row),
            "being unloaded",
        )

    @admin.action(description="Reload the selected plugins", permissions=["change"])
    def reload(self, request: HttpRequest, rows: QuerySet[Plugin]) -> None:
        self.act_on_each(
            request,
            rows,
            lambda row: reload_plugin(actor=request.user, plugin=row),
            "being reloaded",
        )

    @admin.action(
        description="Approve the files of the selected plugins as they are", permissions=["change"]
    )
    def approve(self, request: HttpRequest, rows: QuerySet[Plugin]) -> None:
        self.act_on_each(
            request,
            rows,
            lambda row: approve_plugin(actor=request.user, plugin=row, sha256=row.sha256),
            "approved",
        )


@admin.register(PluginSettings)
class PluginSettingsAdmin(ReadOnlyModelAdmin):
    """Each change of settings; secrets are null."""

    list_display = ["plugin", "number", "actor_name", "created_at"]
    search_fields = ["plugin__slug", "actor_name"]
    list_select_related = ["plugin"]
    fields = ["plugin", "number", "actor_name", "created_at", "settings_before", "settings_after"]
    readonly_fields = ["settings_before", "settings_after"]

    @admin.display(description="before")
    def settings_before(self, row: PluginSettings) -> str:
        return json.dumps(describe_change(row.plugin, row)["before"])

    @admin.display(description="after")
    def settings_after(self, row: PluginSettings) -> str:
        return json.dumps(describe_change(row.plugin, row)["after"])
