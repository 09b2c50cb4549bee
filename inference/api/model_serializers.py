"""Bodies of the calls that load, unload and change models."""

from __future__ import annotations

from typing import Any

from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from inference.load_options import BACKENDS, MAX_DEVICE, MAX_LEVEL, LoadOptions
from inference.model_control import MAX_KEEP_ALIVE
from inference.models import FOR_EVER
from llamagpu.http.fields import FlagField, StrictSerializer, WholeNumberField
from llamagpu.lib.memory import MemoryLimit

_MAX_DEVICES = 64
_COLUMNS = {"enabled": "is_enabled", "pinned": "is_pinned", "keep_alive": "keep_alive"}


@extend_schema_field({"oneOf": [{"type": "integer"}, {"type": "string"}]})
class MemoryField(serializers.Field[str, Any, str, Any]):
    """A number of bytes, a size like `2GiB` or a share like `25%`; kept as it was written."""

    default_error_messages = {"invalid": "Must be bytes, a size like 2GiB or a share like 25%."}

    def to_internal_value(self, data: Any) -> str:
        if isinstance(data, bool) or not isinstance(data, int | str):
            self.fail("invalid")
        try:
            return MemoryLimit.parse(str(data)).text
        except ValueError:
            self.fail("invalid")

    def to_representation(self, value: Any) -> Any:
        return value


@extend_schema_field(OpenApiTypes.ANY)
class NotHereField(serializers.Field[Any, Any, Any, Any]):
    """A field of the API that this server has no use for: refused with the reason, not ignored."""

    def __init__(self, reason: str) -> None:
        super().__init__(required=False, help_text=reason)
        self._reason = reason

    def to_internal_value(self, data: Any) -> Any:
        raise serializers.ValidationError(self._reason)


def _keep_alive() -> WholeNumberField:
    return WholeNumberField(
        required=False,
        allow_null=True,
        min_value=FOR_EVER,
        max_value=MAX_KEEP_ALIVE,
        help_text="seconds without a request; -1: for ever; null: the server's default",
    )


class LoadSerializer(StrictSerializer):
    """Body of POST /api/models/{id}/load. What is left out follows the configuration."""

    backend = serializers.ChoiceField(choices=BACKENDS, required=False)
    optimization_level = WholeNumberField(required=False, min_value=0, max_value=MAX_LEVEL)
    max_memory = MemoryField(required=False)
    devices = serializers.ListField(
        child=WholeNumberField(min_value=0, max_value=MAX_DEVICE),
        required=False,
        allow_empty=False,
        max_length=_MAX_DEVICES,
    )
    keep_alive = _keep_alive()
    pinned = FlagField(required=False)
    quantization = NotHereField(
        "Not chosen here: it follows from the files and from optimization_level."
    )
    replicas = NotHereField("Not chosen here: every worker loads the model once.")

    def validate_devices(self, value: list[int]) -> list[int]:
        if len(set(value)) < len(value):
            raise serializers.ValidationError("Names one device twice.")
        return value

    @property
    def options(self) -> LoadOptions:
        fields = self.validated_data
        devices = fields.get("devices")
        return LoadOptions(
            backend=fields.get("backend"),
            optimization_level=fields.get("optimization_level"),
            max_memory=fields.get("max_memory"),
            devices=None if devices is None else tuple(devices),
        )

    @property
    def changes(self) -> dict[str, Any]:
        """The columns of the model that the call sets besides."""
        return _columns(self.validated_data)


class ChangeModelSerializer(StrictSerializer):
    """Body of PATCH /api/models/{id}."""

    enabled = FlagField(required=False)
    pinned = FlagField(required=False)
    keep_alive = _keep_alive()

    @property
    def changes(self) -> dict[str, Any]:
        return _columns(self.validated_data)


def _columns(fields: dict[str, Any]) -> dict[str, Any]:
    return {_COLUMNS[name]: value for name, value in fields.items() if name in _COLUMNS}
