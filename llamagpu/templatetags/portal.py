"""How pages write figures and states. Without a script they must read well too."""

from __future__ import annotations

from typing import Any

from django import template
from django.utils.formats import number_format
from django.utils.translation import gettext

register = template.Library()

_NONE = "\N{EN DASH}"
_LOOKS = {
    "succeeded": "state-good",
    "ready": "state-good",
    "active": "state-good",
    "queued": "state-busy",
    "running": "state-busy",
    "loading": "state-busy",
    "downloading": "state-busy",
    "unloading": "state-busy",
    "cancelled": "state-warn",
    "expired": "state-warn",
    "degraded": "state-warn",
    "failed": "state-bad",
    "rejected": "state-bad",
}
_LIMITS = {
    "max_model_len": "Tokens of prompt and answer together",
    "max_running": "Requests at once in an engine",
    "max_new_tokens": "Most new tokens of a request",
    "replicas": "Replicas",
}


def _rounded(value: float, digits: int) -> str:
    """With the decimal mark of the page's language."""
    return number_format(round(value, digits), decimal_pos=digits)


@register.filter
def seconds(value: float | None) -> str:
    """12 ms, 3.4 s, 2 min 5 s; a dash where nothing was measured."""
    if value is None:
        return _NONE
    if value < 1:
        return f"{_rounded(value * 1000, 1 if 0.00005 < value < 0.01 else 0)} ms"
    if value < 60:
        return f"{_rounded(value, 2 if value < 10 else 1)} s"
    minutes, rest = divmod(int(value), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    return f"{minutes // 60} h {minutes % 60} min"


@register.filter
def size(value: float | None) -> str:
    """Bytes with a binary unit."""
    if value is None:
        return _NONE
    amount = float(value)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if abs(amount) < 1024:
            return f"{_rounded(amount, 0 if unit == 'B' or amount >= 100 else 1)} {unit}"
        amount /= 1024
    return f"{_rounded(amount, 1)} TiB"


@register.filter
def percent(value: float | None) -> str:
    """What is percent already."""
    return _NONE if value is None else f"{_rounded(value, 1)} %"


@register.filter
def share(value: float | None) -> str:
    """0 to 1 as percent."""
    return _NONE if value is None else f"{_rounded(value * 100, 0)} %"


@register.filter
def millions(value: int) -> str:
    """A count of parameters as people name it: 135 M, 7.2 B."""
    if value >= 1_000_000_000:
        return f"{_rounded(value / 1e9, 1)} B"
    return f"{_rounded(value / 1e6, 0)} M"


@register.filter
def limit_label(name: str) -> str:
    """A model's limit in words."""
    return _LIMITS.get(name, name)


@register.filter
def translated(value: Any) -> str:
    """A word that code knows, such as a state, in the language of the page; none for nothing."""
    return gettext(str(value)) if value else ""


@register.filter
def state_look(state: Any) -> str:
    """The class that colours a state; grey for one that calls for nothing."""
    return _LOOKS.get(str(state), "")


@register.filter
def svg_number(value: float) -> str:
    """With a point, whatever the language of the page."""
    return f"{value:.3f}"
