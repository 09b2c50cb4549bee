"""How pages write figures and states. Without a script they must read well too."""

from __future__ import annotations

from typing import Any

from django import template

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


@register.filter
def seconds(value: float | None) -> str:
    """12 ms, 3.4 s, 2 min 5 s; a dash where nothing was measured."""
    if value is None:
        return _NONE
    if value < 1:
        return f"{value * 1000:.1f} ms" if value < 0.01 else f"{value * 1000:.0f} ms"
    if value < 60:
        return f"{value:.2f} s" if value < 10 else f"{value:.1f} s"
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
            return (
                f"{amount:.0f} {unit}" if unit == "B" or amount >= 100 else f"{amount:.1f} {unit}"
            )
        amount /= 1024
    return f"{amount:.1f} TiB"


@register.filter
def percent(value: float | None) -> str:
    """What is percent already."""
    return _NONE if value is None else f"{value:.1f} %"


@register.filter
def share(value: float | None) -> str:
    """0 to 1 as percent."""
    return _NONE if value is None else f"{value * 100:.0f} %"


@register.filter
def millions(value: int) -> str:
    """A count of parameters as people name it: 135 M, 7.2 B."""
    if value >= 1_000_000_000:
        return f"{value / 1e9:.1f} B"
    return f"{value / 1e6:.0f} M"


@register.filter
def limit_label(name: str) -> str:
    """A model's limit in words."""
    return _LIMITS.get(name, name)


@register.filter
def state_look(state: Any) -> str:
    """The class that colours a state; grey for one that calls for nothing."""
    return _LOOKS.get(str(state), "")


@register.filter
def svg_number(value: float) -> str:
    """With a point, whatever the language of the page."""
    return f"{value:.3f}"
