"""How the pages of the API write what its description says."""

from __future__ import annotations

import re

from django import template
from django.utils.html import conditional_escape
from django.utils.safestring import SafeString, mark_safe

register = template.Library()

_CODE = re.compile(r"`([^`]+)`")
_MOST_LINES = 14


@register.filter
def coded(text: str) -> SafeString:
    """Text with what stands in backticks as code; everything else is escaped."""
    return mark_safe(_CODE.sub(r"<code>\1</code>", conditional_escape(text)))  # noqa: S308


@register.filter
def lines(text: str) -> int:
    """The height of a box for this text."""
    return min(_MOST_LINES, text.count("\n") + 1)
