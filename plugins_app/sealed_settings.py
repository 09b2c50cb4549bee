"""Settings as the table keeps them: secrets sealed; opened for who runs the plugin alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from django.conf import settings

from llamagpu.lib.sealing import Sealer
from plugins_app.settings_schema import secret_names

_PURPOSE = "llamagpu plugin setting"


def seal_settings(schema: Mapping[str, Any] | None, opened: Mapping[str, Any]) -> dict[str, Any]:
    hidden, sealer = secret_names(schema), _sealer()
    return {name: sealer.seal(value) if name in hidden else value for name, value in opened.items()}


def open_settings(schema: Mapping[str, Any] | None, sealed: Mapping[str, Any]) -> dict[str, Any]:
    """Raises UnsealError."""
    hidden, sealer = secret_names(schema), _sealer()
    return {
        name: sealer.unseal(str(value)) if name in hidden else value
        for name, value in sealed.items()
    }


def shown_settings(schema: Mapping[str, Any] | None, sealed: Mapping[str, Any]) -> dict[str, Any]:
    """For people: a secret is null, whether it is set or not."""
    hidden = secret_names(schema)
    return {name: None if name in hidden else value for name, value in sealed.items()}


def carry_over(
    sealed: Mapping[str, Any], hidden_before: Sequence[str], schema: Mapping[str, Any] | None
) -> dict[str, Any]:
    """The same settings under another schema. What was a secret never becomes readable: it is dropped."""
    hidden, sealer = secret_names(schema), _sealer()
    carried = {}
    for name, value in sealed.items():
        if name in hidden_before and name not in hidden:
            continue
        if name in hidden and name not in hidden_before:
            value = sealer.seal(str(value))
        carried[name] = value
    return carried


def _sealer() -> Sealer:
    return Sealer([settings.SECRET_KEY, *settings.SECRET_KEY_FALLBACKS], _PURPOSE)
