from typing import Any

from django.contrib import admin
from django.http import HttpRequest

from inference.models import InferenceJob, Model


@admin.register(Model)
class ModelAdmin(admin.ModelAdmin):
    """Read only: rows follow the folders under the model root."""

    list_display = ["slug", "state", "architecture", "num_parameters", "context_length"]
    search_fields = ["slug", "source"]

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


@admin.register(InferenceJob)
class InferenceJobAdmin(ModelAdmin):
    """Read only, and without what was asked and answered: that is the owner's."""

    list_display = ["id", "owner", "model", "state", "attempt", "created_at", "inference_time"]
    list_filter = ["state", "model"]
    search_fields = ["id", "request_id", "owner__username"]
    exclude = ["prompt", "output"]
    list_select_related = ["owner", "model"]
