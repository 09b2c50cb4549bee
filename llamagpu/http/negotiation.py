"""In which form an answer is given: `Accept` and, where a view has several forms, `?format=`."""

from __future__ import annotations

from typing import Any

from django.http import Http404
from rest_framework.exceptions import ValidationError
from rest_framework.negotiation import DefaultContentNegotiation


class NamedForms(DefaultContentNegotiation):
    """REST framework's own, but a `format` that there is not is wrong input and no missing address."""

    def filter_renderers(self, renderers: Any, format: Any) -> Any:
        try:
            return super().filter_renderers(renderers, format)
        except Http404 as error:
            known = sorted({renderer.format for renderer in renderers if renderer.format})
            raise ValidationError({"format": [f"Must be {' or '.join(known)}."]}) from error
