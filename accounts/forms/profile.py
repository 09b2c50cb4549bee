"""What people may change about themselves."""

from __future__ import annotations

from django import forms

from llamagpu.http.forms import PortalForm


class ProfileForm(PortalForm):
    first_name = forms.CharField(
        max_length=150,
        required=False,
        widget=forms.TextInput(attrs={"autocomplete": "given-name"}),
    )
    last_name = forms.CharField(
        max_length=150,
        required=False,
        widget=forms.TextInput(attrs={"autocomplete": "family-name"}),
    )
    email = forms.EmailField(
        label="E-mail address",
        max_length=254,
        required=False,
        help_text="Password resets go there.",
        widget=forms.EmailInput(attrs={"autocomplete": "email"}),
    )
