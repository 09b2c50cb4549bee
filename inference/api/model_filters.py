"""Which models are asked for: query parameters of GET /api/models."""

from __future__ import annotations

from typing import Any

from rest_framework import serializers
from rest_framework.request import Request

from inference.model_sources import SourceKind
from inference.states import ModelState
from llamagpu.http.fields import StrictSerializer, TextField
from llamagpu.http.filters import read_filters

_STATES = [state.value for state in ModelState if state is not ModelState.REMOVED]


class ModelFilters(StrictSerializer):
    """All of them must hold, each for the field of that name; `source` for the kind of it."""

    state = serializers.ChoiceField(choices=_STATES, required=False)
    loaded = serializers.BooleanField(required=False, help_text="it is in memory and answers")
    enabled = serializers.BooleanField(required=False)
    pinned = serializers.BooleanField(required=False)
    backend = TextField(max_length=16, required=False, help_text="such as cuda, cpu, remote")
    source = serializers.ChoiceField(  # type: ignore[assignment]
        choices=[kind.value for kind in SourceKind], required=False, help_text="where it comes from"
    )
    architecture = TextField(max_length=128, required=False)


def choose_models(request: Request, described: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Those of `described` that `request` asks for. Raises ValidationError."""
    wanted = read_filters(request, ModelFilters, has_pages=False)
    if (kind := wanted.pop("source", None)) is not None:
        described = [model for model in described if model["source"].startswith(f"{kind}:")]
    return [
        model for model in described if all(model[name] == value for name, value in wanted.items())
    ]
