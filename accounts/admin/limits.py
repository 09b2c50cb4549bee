"""Limits of roles, users, keys and models in Django admin."""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib import admin
from django.http import HttpRequest

from accounts.limit_subjects import LIMIT_NAMES, subject_of
from accounts.models import LimitPolicy
from accounts.services.limits import set_limits
from llamagpu.http.model_admin import PortalModelAdmin

_SUBJECTS = ["role", "user", "api_key", "model_slug"]


class LimitPolicyForm(forms.ModelForm):
    """Limits of exactly one subject. Empty inherits, -1 is no limit, 0 allows nothing."""

    class Meta:
        model = LimitPolicy
        fields = [*_SUBJECTS, *LIMIT_NAMES]

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or {}
        named = [name for name in _SUBJECTS if cleaned.get(name)]
        if self.instance.pk is None and len(named) != 1:
            raise forms.ValidationError("Choose exactly one: a role, a user, a key or a model.")
        return cleaned

    def clean_model_slug(self) -> str | None:
        return self.cleaned_data["model_slug"] or None


@admin.register(LimitPolicy)
class LimitPolicyAdmin(PortalModelAdmin):
    """A row for each subject that has limits of its own. To lift them, empty the fields."""

    form = LimitPolicyForm
    list_display = ["subject", *LIMIT_NAMES]
    search_fields = ["role__slug", "user__username", "api_key__prefix", "model_slug"]
    list_filter = [("role", admin.RelatedOnlyFieldListFilter)]
    list_select_related = ["role", "user", "api_key"]
    ordering = ["id"]
    actions = None

    def get_fieldsets(self, request: HttpRequest, obj: LimitPolicy | None = None) -> Any:
        subject = _SUBJECTS if obj is None else ["subject"]
        return [
            ("Whose limits", {"fields": subject}),
            (
                "Limits",
                {
                    "fields": list(LIMIT_NAMES),
                    "description": "Empty inherits, -1 is no limit, 0 allows nothing.",
                },
            ),
        ]

    def get_readonly_fields(self, request: HttpRequest, obj: LimitPolicy | None = None) -> Any:
        return [] if obj is None else ["subject"]

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    @admin.display(description="whose")
    def subject(self, policy: LimitPolicy) -> str:
        return policy.subject

    def save_model(self, request: Any, obj: LimitPolicy, form: Any, change: bool) -> None:
        names = set(form.changed_data) & set(LIMIT_NAMES)
        values = {name: form.cleaned_data[name] for name in names}
        obj.pk = set_limits(actor=request.user, subject=subject_of(obj), **values).pk
