"""Turning the second factor off."""

from __future__ import annotations

from django import forms

from accounts.forms.sign_in import CodeForm


class DisableForm(CodeForm):
    field_order = ["password", "code"]
    password = forms.CharField(
        max_length=4096,
        strip=False,
        widget=forms.PasswordInput(attrs={"autocomplete": "current-password"}),
    )
