from typing import Any

from django import forms
from django.contrib import admin
from django.http import HttpRequest

from llamagpu.http.model_admin import PortalModelAdmin, ReadOnlyModelAdmin
from llamagpu.lib.setting_fields import SETTING_FIELDS
from monitoring import alert_admin  # noqa: F401  registers its pages
from monitoring.models import AuditLog, AuditSeal, ConfigValue, MetricSample
from monitoring.services.configuration import change_configuration


@admin.register(AuditLog)
class AuditLogAdmin(ReadOnlyModelAdmin):
    """Read only: the log is written by deeds alone."""

    list_display = ["created_at", "actor_name", "action", "outcome", "target", "ip", "request_id"]
    list_filter = ["action", "outcome", "target_type"]
    search_fields = ["actor_name", "target_id", "target_name", "request_id", "key_prefix", "ip"]
    date_hierarchy = "created_at"
    ordering = ["-id"]
    actions = None

    @admin.display(description="target")
    def target(self, row: AuditLog) -> str:
        return f"{row.target_type} {row.target_name or row.target_id}".strip()


@admin.register(AuditSeal)
class AuditSealAdmin(ReadOnlyModelAdmin):
    """What was archived by `manage.py audit_archive`."""

    list_display = ["created_at", "file_name", "num_rows", "first_id", "last_id"]
    search_fields = ["file_name", "sha256"]
    date_hierarchy = "created_at"
    actions = None


class ConfigValueForm(forms.ModelForm):
    """A setting and its value as JSON."""

    name = forms.ChoiceField(choices=[(field.name, field.name) for field in SETTING_FIELDS])


@admin.register(ConfigValue)
class ConfigValueAdmin(PortalModelAdmin):
    """Settings that differ from their defaults; the page `/settings` shows all of them."""

    form = ConfigValueForm
    list_display = ["name", "value", "updated_at", "updated_by"]
    search_fields = ["name", "updated_by"]
    readonly_fields = ["updated_at", "updated_by"]

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        return ["name", *self.readonly_fields] if obj else self.readonly_fields

    def save_model(self, request: HttpRequest, obj: Any, form: Any, change: bool) -> None:
        change_configuration(actor=request.user, changes={obj.name: obj.value})

    def delete_model(self, request: HttpRequest, obj: Any) -> None:
        change_configuration(actor=request.user, changes={obj.pk: None})


@admin.register(MetricSample)
class MetricSampleAdmin(ReadOnlyModelAdmin):
    """Which buckets of time were measured; `/api/system/metrics` shows the figures in them."""

    list_display = ["start", "resolution", "node", "covered"]
    list_filter = ["resolution", "node"]
    search_fields = ["node"]
    exclude = ["figures", "details"]
    ordering = ["-start"]
    actions = None
    show_full_result_count = False
