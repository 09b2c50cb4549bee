from django.contrib import admin

from llamagpu.http.model_admin import ReadOnlyModelAdmin
from monitoring.models import AuditLog, AuditSeal


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
