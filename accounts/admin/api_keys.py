"""API keys in Django admin: made (and shown once), changed, revoked; never deleted."""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib import admin
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.debug import sensitive_variables

from accounts.models import ApiKey
from accounts.services.api_keys import change_api_key, create_api_key, revoke_api_key
from llamagpu.http.model_admin import PortalModelAdmin
from llamagpu.http.permissions import Scope

_SETTINGS = ["name", "scopes", "allowed_models", "allowed_ips", "retention", "expires_at"]


class LinesField(forms.CharField):
    """A list of texts, one a line."""

    widget = forms.Textarea(attrs={"rows": 3})

    def prepare_value(self, value: Any) -> Any:
        return "\n".join(value) if isinstance(value, list) else value

    def to_python(self, value: Any) -> Any:
        lines = value if isinstance(value, list) else str(value or "").splitlines()
        return [line.strip() for line in lines if line.strip()]

    def has_changed(self, initial: Any, data: Any) -> bool:
        return bool(self.to_python(initial) != self.to_python(data))


class ApiKeyForm(forms.ModelForm):
    """What can be chosen about a key. An empty list narrows nothing."""

    scopes = forms.MultipleChoiceField(
        required=False,
        choices=[(scope.value, scope.value) for scope in Scope],
        widget=forms.CheckboxSelectMultiple,
        help_text="none: all that the owner may do",
    )
    allowed_models = LinesField(required=False, help_text="slugs, one a line; none: every model")
    allowed_ips = LinesField(
        required=False,
        help_text="addresses or networks such as 10.0.0.0/8, one a line; none: from everywhere",
    )

    class Meta:
        model = ApiKey
        fields = ["user", *_SETTINGS]


class StateFilter(admin.SimpleListFilter):
    """Usable, revoked or expired."""

    title = "state"
    parameter_name = "state"

    def lookups(self, request: HttpRequest, model_admin: Any) -> Any:
        return [(state, state) for state in ("usable", "revoked", "expired")]

    def queryset(self, request: HttpRequest, queryset: Any) -> Any:
        state = self.value()
        return queryset if state is None else queryset.in_state(state)


@admin.register(ApiKey)
class ApiKeyAdmin(PortalModelAdmin):
    """Keys of everybody for who may write the system configuration, one's own for others."""

    form = ApiKeyForm
    list_display = ["prefix", "name", "user", "state", "created_at", "last_used_at", "expires_at"]
    list_filter = [StateFilter, "created_at", "last_used_at"]
    search_fields = ["prefix", "name", "user__username"]
    list_select_related = ["user"]
    actions = ["revoke"]

    def get_fieldsets(self, request: HttpRequest, obj: ApiKey | None = None) -> Any:
        fields = [("Key", {"fields": ["user", *_SETTINGS]})]
        if obj is not None:
            kept = ["prefix", "created_at", "last_used_at", "revoked_at"]
            fields.append(("Kept by the server", {"fields": kept}))
        return fields

    def get_readonly_fields(self, request: HttpRequest, obj: ApiKey | None = None) -> Any:
        if obj is None:
            return []
        kept = ["user", "prefix", "created_at", "last_used_at", "revoked_at"]
        return kept if obj.is_usable else [*kept, *_SETTINGS]

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    @admin.display(description="state")
    def state(self, key: ApiKey) -> str:
        return key.state

    # ------------------------------------------------------------------ writes
    @sensitive_variables("text")
    def save_model(self, request: Any, obj: ApiKey, form: Any, change: bool) -> None:
        settings = {name: getattr(obj, name) for name in _SETTINGS}
        if change:
            changed = {name: settings[name] for name in form.changed_data if name in settings}
            if changed:
                change_api_key(actor=request.user, key=obj, changes=changed)
            return
        made, text = create_api_key(actor=request.user, user=obj.user, **settings)
        obj.pk, obj.prefix = made.pk, made.prefix
        request.key_text = str(text)  # until the answer to this very request is written

    def response_add(self, request: Any, obj: ApiKey, post_url_continue: Any = None) -> Any:
        """The key in plain text, on a page of its own: it is kept nowhere and shown only now."""
        context = {
            **self.admin_site.each_context(request),
            "opts": self.opts,
            "title": "The new key",
            "subtitle": f"{obj.name} of {obj.user}",
            "original": obj,
            "key_text": request.key_text,
        }
        answer: HttpResponse = render(request, "accounts/admin/new_key.html", context)
        answer.headers["Cache-Control"] = "no-store"
        return answer

    @admin.action(description="Revoke the selected keys", permissions=["change"])
    def revoke(self, request: HttpRequest, keys: Any) -> None:
        actor: Any = request.user
        self.act_on_each(
            request, keys, lambda key: revoke_api_key(actor=actor, key=key), "keys revoked"
        )
