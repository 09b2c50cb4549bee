"""What people type to sign in."""

from __future__ import annotations

from django import forms
from django.contrib.auth.forms import UsernameField

from llamagpu.http.forms import PortalForm


class SignInForm(PortalForm):
    username = UsernameField(
        label="User name",
        max_length=150,
        widget=forms.TextInput(
            attrs={"autocomplete": "username", "autocapitalize": "none", "autofocus": True}
        ),
    )
    password = forms.CharField(
        max_length=4096,
        strip=False,
        widget=forms.PasswordInput(attrs={"autocomplete": "current-password"}),
    )


class CodeForm(PortalForm):
    """A code of the authenticator app, or where `recovery` allows one, a recovery code."""

    code = forms.CharField(
        max_length=64,
        widget=forms.TextInput(
            attrs={"autocomplete": "one-time-code", "autofocus": True, "spellcheck": "false"}
        ),
    )
