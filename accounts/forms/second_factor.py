"""Turning the second factor off."""

from __future__ import annotations

from django import forms
from django.utils.translation import gettext_lazy as _

from llamagpu.http.forms import PortalForm


class DisableForm(PortalForm):
    password = forms.CharField(
        label=_("Password"),
        max_length=4096,
        strip=False,
        widget=forms.PasswordInput(attrs={"autocomplete": "current-password", "autofocus": True}),
    )
    code = forms.CharField(
        label=_("Code"),
        max_length=64,
        widget=forms.TextInput(attrs={"autocomplete": "one-time-code", "spellcheck": "false"}),
    )
