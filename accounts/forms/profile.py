"""What people may change about themselves."""

from __future__ import annotations

from typing import Any

from django import forms
from django.utils.translation import gettext_lazy as _

from accounts.models import User
from llamagpu.http.forms import PortalForm

_FIELDS = ("first_name", "last_name", "email")


class ProfileForm(PortalForm):
    """Another e-mail address takes the password: resets of the password go there."""

    first_name = forms.CharField(
        label=_("First name"),
        max_length=150,
        required=False,
        widget=forms.TextInput(attrs={"autocomplete": "given-name"}),
    )
    last_name = forms.CharField(
        label=_("Last name"),
        max_length=150,
        required=False,
        widget=forms.TextInput(attrs={"autocomplete": "family-name"}),
    )
    email = forms.EmailField(
        label=_("E-mail address"),
        max_length=254,
        required=False,
        widget=forms.EmailInput(attrs={"autocomplete": "email"}),
    )
    password = forms.CharField(
        label=_("Password"),
        max_length=4096,
        required=False,
        strip=False,
        help_text=_("Only needed to change the e-mail address."),
        widget=forms.PasswordInput(attrs={"autocomplete": "current-password"}),
    )

    def __init__(self, user: User, data: Any = None) -> None:
        super().__init__(data, initial={name: getattr(user, name) for name in _FIELDS})
        self.user = user
        if not user.has_usable_password():
            del self.fields["password"]

    def clean(self) -> dict[str, Any]:
        cleaned: dict[str, Any] = super().clean() or self.cleaned_data
        if (
            "password" in self.fields
            and "email" in self.changed_data
            and not self.user.check_password(cleaned.get("password", ""))
        ):
            self.add_error("password", _("The password is needed to change the e-mail address."))
        return cleaned
