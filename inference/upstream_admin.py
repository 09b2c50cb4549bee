"""Remote models in Django admin: added, led elsewhere, given another key. A key is typed, never shown."""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib import admin
from django.http import HttpRequest

from inference.models import Upstream
from inference.services.upstreams import RemoteModel, change_upstream, register_remote
from inference.upstream_models import CAPABILITIES, DEFAULT_CAPABILITIES
from llamagpu.http.model_admin import PortalModelAdmin


class UpstreamForm(forms.ModelForm):
    capabilities = forms.MultipleChoiceField(
        choices=[(name, name) for name in CAPABILITIES],
        initial=DEFAULT_CAPABILITIES,
        widget=forms.CheckboxSelectMultiple,
        help_text="what it offers; the rest is refused without asking it",
    )
    new_key = forms.CharField(
        required=False,
        strip=True,
        widget=forms.PasswordInput(attrs={"autocomplete": "new-password"}),
        help_text="sent to the upstream, kept sealed; empty: as before",
    )
    without_key = forms.BooleanField(required=False, help_text="it needs none: forget the old one")

    class Meta:
        model = Upstream
        fields = ["base_url", "upstream_model", "silence", "capabilities"]

    @property
    def key_changes(self) -> dict[str, str]:
        if self.cleaned_data["without_key"]:
            return {"key": ""}
        typed = self.cleaned_data["new_key"]
        return {"key": typed} if typed else {}


class NewUpstreamForm(UpstreamForm):
    """With what the model needs that the upstream will compute."""

    name = forms.CharField(
        required=False, max_length=128, help_text="its name here; empty: as the upstream calls it"
    )
    context_length = forms.IntegerField(
        min_value=1, help_text="tokens that prompt and answer may fill"
    )


@admin.register(Upstream)
class UpstreamAdmin(PortalModelAdmin):
    """It goes with its model, and never alone."""

    list_display = ["model", "base_url", "upstream_model", "has_key", "silence", "updated_at"]
    search_fields = ["model__slug", "base_url", "upstream_model"]
    list_select_related = ["model"]
    _settings = ("base_url", "upstream_model", "silence", "capabilities", "new_key", "without_key")

    def get_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        if obj is None:
            return ["name", "context_length", *self._settings]
        return ["model", "has_key", *self._settings]

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        return [] if obj is None else ["model", "has_key"]

    def get_form(
        self, request: HttpRequest, obj: Any = None, change: bool = False, **kwargs: Any
    ) -> Any:
        kwargs["form"] = UpstreamForm if change else NewUpstreamForm
        return super().get_form(request, obj, change=change, **kwargs)

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    @admin.display(boolean=True, description="has a key")
    def has_key(self, row: Upstream) -> bool:
        return row.has_key

    def save_model(self, request: HttpRequest, obj: Upstream, form: Any, change: bool) -> None:
        fields = form.cleaned_data
        names = ("base_url", "upstream_model", "silence", "capabilities")
        if change:
            stored = Upstream.objects.get(pk=obj.pk)
            changes = {name: fields[name] for name in names if name in form.changed_data}
            change_upstream(
                actor=request.user, model=stored.model, changes=changes | form.key_changes
            )
            return
        model = register_remote(
            actor=request.user,
            remote=RemoteModel(
                base_url=fields["base_url"],
                upstream_model=fields["upstream_model"],
                context_length=fields["context_length"],
                slug=fields["name"],
                key=form.key_changes.get("key", ""),
                silence=fields["silence"],
                capabilities=tuple(fields["capabilities"]),
            ),
        )
        obj.pk, obj.model = model.upstream.pk, model
