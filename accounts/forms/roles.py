"""A role's row of the permission matrix as a form."""

from __future__ import annotations

from typing import Any

from django import forms
from django.utils.translation import gettext_lazy as _

from accounts.models import Role
from accounts.rights import NONE, READ, READ_WRITE, rights_of
from llamagpu.http.forms import PortalForm
from llamagpu.http.permissions import Resource

RIGHT_CHOICES = [(NONE, _("nothing")), (READ, _("read")), (READ_WRITE, _("read and write"))]


def right_field(resource: Resource) -> forms.ChoiceField:
    """The choice of one cell."""
    label = resource.value.replace("_", " ").capitalize()
    return forms.ChoiceField(label=label, choices=RIGHT_CHOICES, required=False)


class RightsForm(PortalForm):
    """One choice for each resource. `prefix` keeps the forms of several roles apart."""

    def __init__(self, role: Role, data: Any = None) -> None:
        super().__init__(data, prefix=role.slug, initial=rights_of(role))
        self.role = role
        for resource in Resource:
            field = self.fields[resource.value] = right_field(resource)
            field.widget.attrs["class"] = "form-select"
