from __future__ import annotations

from typing import Any

from django import forms
from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.template.defaultfilters import filesizeformat

from inference import upstream_admin  # noqa: F401  registers its page
from inference.job_contents import public_error
from inference.load_options import LoadOptions
from inference.model_control import change_model, load_model, unload_model
from inference.models import Batch, FileBatch, InferenceJob, JobAttempt, Model, StoredFile
from inference.services.model_pulls import start_pull
from inference.services.registration import remove_model
from inference.states import ModelState
from inference.status import describe_models
from llamagpu.http.model_admin import PortalModelAdmin, ReadOnlyModelAdmin

_NOW = ("state_now", "memory_now", "desired_state", "load_options")
_FACTS = (
    "slug",
    "pull_error",
    "source",
    "revision",
    "path",
    "state",
    "architecture",
    "format",
    "stored_dtype",
    "num_parameters",
    "size",
    "context_length",
    "vocab_size",
    "sha256",
    "created_at",
    "updated_at",
)


@admin.register(Model)
class ModelAdmin(PortalModelAdmin):
    """What the files say is read only: rows follow the model root. How they are served is not."""

    list_display = [
        "slug",
        "state_now",
        "memory_now",
        "desired_state",
        "is_enabled",
        "is_pinned",
        "keep_alive",
        "size",
        "context_length",
    ]
    list_filter = ["is_enabled", "is_pinned", "desired_state", "state", "format"]
    search_fields = ["slug", "source", "architecture"]
    actions = ["load", "unload", "enable", "disable", "pull", "remove"]
    fieldsets = [
        ("Service", {"fields": ["is_enabled", "is_pinned", "keep_alive", "replicas"]}),
        ("Limits", {"fields": ["max_model_len", "max_running", "max_new_tokens"]}),
        ("Now", {"fields": _NOW}),
        ("Files", {"fields": _FACTS}),
    ]
    readonly_fields = [*_NOW, *_FACTS]

    def get_queryset(self, request: HttpRequest) -> QuerySet[Model]:
        """Without those that were deleted."""
        return super().get_queryset(request).exclude(state=ModelState.REMOVED)

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def save_model(
        self, request: HttpRequest, obj: Model, form: forms.ModelForm[Model], change: bool
    ) -> None:
        changes = {name: form.cleaned_data[name] for name in form.changed_data}
        change_model(actor=request.user, model=obj, changes=changes)

    def get_changelist_instance(self, request: HttpRequest) -> Any:
        """The list, with what the workers report of its rows, asked once."""
        changes = super().get_changelist_instance(request)
        rows = list(changes.result_list)
        for row, described in zip(rows, describe_models(rows), strict=True):
            row.described = described
        changes.result_list = rows
        return changes

    @admin.display(description="state now")
    def state_now(self, row: Model) -> str:
        described = _described(row)
        progress = described["progress"]
        return described["state"] if progress is None else f"{described['state']} {progress:.0%}"

    @admin.display(description="memory")
    def memory_now(self, row: Model) -> str:
        memory = _described(row)["memory"]
        return filesizeformat(memory) if memory else "-"

    @admin.display(description="size", ordering="weight_bytes")
    def size(self, row: Model) -> str:
        return filesizeformat(row.weight_bytes)

    @admin.action(description="Load the selected models", permissions=["change"])
    def load(self, request: HttpRequest, rows: QuerySet[Model]) -> None:
        """With the options of the last time."""

        def load(row: Model) -> None:
            options = LoadOptions.from_row(row.load_options)
            load_model(actor=request.user, model=row, options=options)

        self.act_on_each(request, rows, load, "being loaded")

    @admin.action(description="Unload the selected models", permissions=["change"])
    def unload(self, request: HttpRequest, rows: QuerySet[Model]) -> None:
        self.act_on_each(
            request, rows, lambda row: unload_model(actor=request.user, model=row), "being unloaded"
        )

    @admin.action(description="Enable the selected models", permissions=["change"])
    def enable(self, request: HttpRequest, rows: QuerySet[Model]) -> None:
        self._switch(request, rows, True, "enabled")

    @admin.action(description="Disable and unload the selected models", permissions=["change"])
    def disable(self, request: HttpRequest, rows: QuerySet[Model]) -> None:
        self._switch(request, rows, False, "disabled")

    @admin.action(
        description="Fetch what is missing of the selected models", permissions=["change"]
    )
    def pull(self, request: HttpRequest, rows: QuerySet[Model]) -> None:
        self.act_on_each(
            request, rows, lambda row: start_pull(actor=request.user, model=row), "being fetched"
        )

    @admin.action(description="Delete the selected models", permissions=["change"])
    def remove(self, request: HttpRequest, rows: QuerySet[Model]) -> None:
        """With the files of those that were pulled."""
        self.act_on_each(
            request, rows, lambda row: remove_model(actor=request.user, model=row), "deleted"
        )

    def _switch(
        self, request: HttpRequest, rows: QuerySet[Model], is_enabled: bool, done: str
    ) -> None:
        changes = {"is_enabled": is_enabled}
        self.act_on_each(
            request,
            rows,
            lambda row: change_model(actor=request.user, model=row, changes=changes),
            done,
        )


class JobAttemptInline(admin.TabularInline):
    """Where and why a job began again; nothing is changed here."""

    model = JobAttempt
    fields = ("number", "worker", "started_at", "cause")
    readonly_fields = ("number", "worker", "started_at", "cause")
    extra = 0
    can_delete = False

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


@admin.register(InferenceJob)
class InferenceJobAdmin(ReadOnlyModelAdmin):
    """Without what was asked and answered: that is the owner's."""

    list_display = [
        "id",
        "owner",
        "model",
        "state",
        "attempt",
        "created_at",
        "prompt_tokens",
        "completion_tokens",
        "inference_time",
        "error_code",
    ]
    list_filter = ["state", "model", "is_streamed"]
    search_fields = ["id", "request_id", "owner__username"]
    list_select_related = ["owner", "model"]
    inlines = [JobAttemptInline]
    fields = [
        "id",
        "request_id",
        "end_user",
        "owner",
        "api_key",
        "model",
        "state",
        "attempt",
        "priority",
        "is_streamed",
        "worker",
        "backend",
        "created_at",
        "deadline_at",
        "started_at",
        "finished_at",
        "admission_time",
        "reserved_tokens",
        "limits",
        "queue_time",
        "load_time",
        "engine_wait",
        "plugins",
        "ttft",
        "inference_time",
        "prompt_tokens",
        "completion_tokens",
        "cached_tokens",
        "finish_reason",
        "error_code",
        "error",
        "retention",
        "content_until",
        "content_removed_at",
    ]
    readonly_fields = ["error"]

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        rows: Any = super().get_queryset(request)
        return rows.without_content()

    def error(self, row: InferenceJob) -> str:
        return public_error(row.error_code, row.error_message)


def _described(row: Model) -> dict[str, Any]:
    """What the workers report of a row: asked with the list, or here for a single one."""
    found: dict[str, Any] | None = getattr(row, "described", None)
    if found is None:
        (found,) = describe_models([row])
        row.described = found  # type: ignore[attr-defined]
    return found


@admin.register(Batch)
class BatchAdmin(ReadOnlyModelAdmin):
    """How far each is follows from its jobs; what it asked is the owner's."""

    list_display = ["id", "owner", "model", "is_async", "created_at", "deadline_at", "cancelled_at"]
    list_filter = ["model", "is_async"]
    search_fields = ["id", "request_id", "owner__username"]
    list_select_related = ["owner", "model"]
    fields = [
        "id",
        "request_id",
        "owner",
        "api_key",
        "model",
        "is_async",
        "created_at",
        "deadline_at",
        "cancelled_at",
    ]


@admin.register(StoredFile)
class StoredFileAdmin(ReadOnlyModelAdmin):
    """That it is there, and how large: what stands in it is the owner's."""

    list_display = ["id", "owner", "purpose", "size", "created_at", "expires_at"]
    list_filter = ["purpose"]
    search_fields = ["id", "owner__username"]
    list_select_related = ["owner"]
    fields = ["id", "owner", "purpose", "num_bytes", "sha256", "created_at", "expires_at"]

    @admin.display(description="size", ordering="num_bytes")
    def size(self, row: StoredFile) -> str:
        return filesizeformat(row.num_bytes)


@admin.register(FileBatch)
class FileBatchAdmin(ReadOnlyModelAdmin):
    """How far each is; what it asked is the owner's."""

    list_display = [
        "id",
        "owner",
        "endpoint",
        "state",
        "num_lines",
        "num_completed",
        "num_failed",
        "created_at",
    ]
    list_filter = ["state", "endpoint"]
    search_fields = ["id", "request_id", "owner__username"]
    list_select_related = ["owner"]
    fields = [
        "id",
        "request_id",
        "owner",
        "api_key",
        "endpoint",
        "state",
        "input_file_id",
        "output_file_id",
        "error_file_id",
        "num_lines",
        "num_completed",
        "num_failed",
        "created_at",
        "expires_at",
    ]
