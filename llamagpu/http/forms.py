"""Forms as the portal's pages show them; `llamagpu/field.html` renders one field."""

from __future__ import annotations

from typing import Any

from django import forms


class PortalForm(forms.Form):
    """Fields in Bootstrap's look; a field with an error says so to screen readers too."""

    required_css_class = "required"

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        kwargs.setdefault("label_suffix", "")
        super().__init__(*args, **kwargs)
        for field in self.fields.values():
            style = "form-select" if isinstance(field.widget, forms.Select) else "form-control"
            if isinstance(field.widget, forms.CheckboxInput):
                style = "form-check-input"
            field.widget.attrs.setdefault("class", style)

    def full_clean(self) -> None:
        super().full_clean()
        for name in set(self.errors) & set(self.fields):
            attributes = self.fields[name].widget.attrs
            attributes["class"] = f"{attributes['class']} is-invalid"
