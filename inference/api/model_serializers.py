"""Bodies of the calls that register, load, unload and change models."""

from __future__ import annotations

from typing import Any

from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from inference.load_options import BACKENDS, MAX_DEVICE, MAX_LEVEL, LoadOptions
from inference.model_control import MAX_KEEP_ALIVE, MAX_LIMITS
from inference.model_sources import SourceKind, SourceRefusedError, kind_of
from inference.models import FOR_EVER, Model
from inference.services.registration import Registration, register_model
from llamagpu.http.fields import FlagField, StrictSerializer, TextField, WholeNumberField
from llamagpu.http.schema_words import asked
from llamagpu.lib.memory import MemoryLimit

_MAX_DEVICES = 64
_COLUMNS = {
    "enabled": "is_enabled",
    "pinned": "is_pinned",
    "keep_alive": "keep_alive",
    **{name: name for name in MAX_LIMITS},
}


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


def _limit(name: str, what: str) -> WholeNumberField:
    return WholeNumberField(
        required=False, allow_null=True, min_value=1, max_value=MAX_LIMITS[name], help_text=what
    )


def _replicas() -> WholeNumberField:
    return _limit("replicas", "workers that hold it; null: every worker")


@asked({"optimization_level": 2, "keep_alive": 3600, "replicas": 1})
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
    replicas = _replicas()

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


@asked({"pinned": True, "max_new_tokens": 200, "max_running": 8})
class ChangeModelSerializer(StrictSerializer):
    """Body of PATCH /api/models/{id}."""

    enabled = FlagField(required=False)
    pinned = FlagField(required=False)
    keep_alive = _keep_alive()
    replicas = _replicas()
    max_model_len = _limit("max_model_len", "tokens of prompt and answer together; null: no limit")
    max_running = _limit("max_running", "requests that an engine runs at once; null: the server's")
    max_new_tokens = _limit("max_new_tokens", "highest max_tokens of a request; null: the server's")

    @property
    def changes(self) -> dict[str, Any]:
        return _columns(self.validated_data)


class RegisterModelSerializer(ChangeModelSerializer):
    """Body of POST /api/models for what lies under the model root or is fetched to it."""

    source = TextField(  # type: ignore[assignment]  # a field, not where this one reads
        max_length=255,
        help_text="hub:org/name@revision, wheel:name==version or path:folder",
    )
    name = serializers.RegexField(
        r"\A[a-z0-9][a-z0-9._-]{0,127}\Z", required=False, help_text="its id here"
    )

    def register(self, actor: Any) -> Model:
        """Raises AppError."""
        fields = self.validated_data
        registration = Registration(fields["source"], fields.get("name"), self.changes)
        return register_model(actor=actor, registration=registration)


#: Who reads the body of POST /api/models, by the kind of its source; all others go to the first one.
REGISTRARS: dict[SourceKind, type[RegisterModelSerializer]] = {
    SourceKind.PATH: RegisterModelSerializer,
}


def registrar_for(data: Any) -> RegisterModelSerializer:
    """The serializer for a body, which is not checked yet."""
    source = data.get("source") if isinstance(data, dict) else None
    try:
        kind = kind_of(source) if isinstance(source, str) else SourceKind.PATH
    except SourceRefusedError:
        kind = SourceKind.PATH
    return REGISTRARS.get(kind, RegisterModelSerializer)(data=data)


def _columns(fields: dict[str, Any]) -> dict[str, Any]:
    return {_COLUMNS[name]: value for name, value in fields.items() if name in _COLUMNS}
