"""What the page of one's own keys asks for."""

from __future__ import annotations

import re
from datetime import datetime, timedelta
from typing import Any

from django import forms
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from accounts.key_settings import MAX_NAME_LENGTH, usable_scopes
from accounts.models import User
from llamagpu.http.forms import PortalForm

_SCOPE_LABELS = {
    "infer": _("generate text"),
    "batch": _("run batches"),
    "models:read": _("see models"),
    "models:write": _("load and change models"),
    "plugins:read": _("see plugins"),
    "plugins:write": _("load and change plugins"),
    "metrics": _("see health and metrics"),
    "audit": _("read the audit log"),
    "admin": _("configuration, users, keys"),
}
_LIFETIMES = [
    ("7", _("7 days")),
    ("30", _("30 days")),
    ("90", _("90 days")),
    ("365", _("a year")),
    ("", _("never")),
]
_GRACES = [
    ("0", _("at once")),
    ("3600", _("in an hour")),
    ("86400", _("in a day")),
    ("604800", _("in a week")),
]


class NewKeyForm(PortalForm):
    """Offers the scopes that the owner's role can use; the service has the last word on all of it."""

    name = forms.CharField(
        label=_("Name"),
        max_length=MAX_NAME_LENGTH,
        help_text=_("What you will recognise it by, such as the program that uses it."),
    )
    expires_in = forms.ChoiceField(
        label=_("Expires after"), required=False, initial="90", choices=_LIFETIMES
    )
    scopes = forms.MultipleChoiceField(
        required=False,
        widget=forms.CheckboxSelectMultiple(attrs={"class": "form-check-input"}),
    )
    allowed_models = forms.CharField(
        label=_("Only these models"),
        required=False,
        max_length=10_000,
        help_text=_("Their names, with spaces between. Empty: every model."),
    )
    allowed_ips = forms.CharField(
        label=_("Only from these addresses"),
        required=False,
        max_length=10_000,
        help_text=_("Addresses or networks such as 10.0.0.0/8. Empty: from everywhere."),
    )

    def __init__(self, owner: User, data: Any = None) -> None:
        super().__init__(data)
        scopes: Any = self.fields["scopes"]
        scopes.choices = [(str(s), _SCOPE_LABELS[s]) for s in usable_scopes(owner)]

    def settings(self) -> dict[str, Any]:
        """The valid fields as `create_api_key` takes them."""
        data = self.cleaned_data
        return {
            "name": data["name"],
            "scopes": data["scopes"],
            "allowed_models": _words(data["allowed_models"]),
            "allowed_ips": _words(data["allowed_ips"]),
            "expires_at": _end(data["expires_in"]),
        }

    def refuse(self, field: str, message: str) -> None:
        """Shows what the service refused, at the field that it named."""
        shown = {"expires_at": "expires_in"}.get(field, field)
        if shown not in self.fields:
            self.add_error(None, message)
            return
        self.add_error(shown, message[:1].upper() + message[1:])
        attributes = self.fields[shown].widget.attrs
        attributes["class"] = f"{attributes['class']} is-invalid"


class RotateForm(PortalForm):
    """When the old key ends."""

    grace_seconds = forms.ChoiceField(label=_("The old key ends"), initial="86400", choices=_GRACES)

    def grace(self) -> timedelta:
        return timedelta(seconds=int(self.cleaned_data["grace_seconds"]))


def _words(text: str) -> list[str]:
    return [word for word in re.split(r"[\s,;]+", text) if word]


def _end(days: str) -> datetime | None:
    return timezone.now() + timedelta(days=int(days)) if days else None
