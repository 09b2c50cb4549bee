"""Bodies of the calls that register remote models and lead them elsewhere."""

from __future__ import annotations

from typing import Any

from rest_framework import serializers

from inference.api.model_serializers import RegisterModelSerializer
from inference.models import Model
from inference.services.upstreams import (
    MAX_CONTEXT,
    MAX_KEY,
    MAX_NAME,
    RemoteModel,
    register_remote,
)
from inference.upstream_models import (
    CAPABILITIES,
    DEFAULT_CAPABILITIES,
    DEFAULT_SILENCE,
    MAX_SILENCE,
)
from inference.upstreams import MAX_URL, PREFIX
from llamagpu.http.fields import StrictSerializer, TextField, WholeNumberField


def _name_there(**fields: Any) -> TextField:
    return TextField(max_length=MAX_NAME, help_text="the model's name at its upstream", **fields)


def _key(**fields: Any) -> TextField:
    return TextField(
        required=False,
        write_only=True,
        allow_blank=True,
        max_length=MAX_KEY,
        help_text="sent to the upstream; kept sealed and never shown; empty: none",
        **fields,
    )


def _timeout(**fields: Any) -> WholeNumberField:
    return WholeNumberField(
        min_value=1,
        max_value=MAX_SILENCE,
        help_text="seconds that the upstream may send nothing",
        **fields,
    )


def _capabilities(**fields: Any) -> serializers.ListField:
    return serializers.ListField(
        child=serializers.ChoiceField(choices=CAPABILITIES),
        allow_empty=False,
        max_length=len(CAPABILITIES),
        help_text="what the upstream offers; the rest is refused without asking it",
        **fields,
    )


class RegisterRemoteSerializer(RegisterModelSerializer):
    """Body of POST /api/models for a model that another server computes."""

    source = TextField(
        max_length=len(PREFIX) + MAX_URL,
        help_text="remote:https://host:port/v1, among the hosts of LLAMA_UPSTREAM_ALLOW",
    )
    upstream_model = _name_there()
    context_length = WholeNumberField(
        min_value=1, max_value=MAX_CONTEXT, help_text="tokens that prompt and answer may fill"
    )
    api_key = _key(default="")
    timeout = _timeout(default=DEFAULT_SILENCE)
    capabilities = _capabilities(default=DEFAULT_CAPABILITIES)

    def register(self, actor: Any) -> Model:
        """Raises AppError."""
        fields = self.validated_data
        remote = RemoteModel(
            base_url=fields["source"].removeprefix(PREFIX),
            upstream_model=fields["upstream_model"],
            context_length=fields["context_length"],
            slug=fields.get("name", ""),
            key=fields["api_key"],
            silence=fields["timeout"],
            capabilities=tuple(fields["capabilities"]),
            changes=self.changes,
        )
        return register_remote(actor=actor, remote=remote)


class UpstreamSerializer(StrictSerializer):
    """Body of PATCH /api/models/{id}/upstream."""

    base_url = TextField(required=False, max_length=MAX_URL)
    upstream_model = _name_there(required=False)
    api_key = _key()
    timeout = _timeout(required=False)
    capabilities = _capabilities(required=False)

    @property
    def changes(self) -> dict[str, Any]:
        names = {"api_key": "key", "timeout": "silence"}
        return {names.get(name, name): value for name, value in self.validated_data.items()}


class ShownUpstreamSerializer(serializers.Serializer[Any]):
    """An upstream as who manages models sees it."""

    model = serializers.CharField(source="model.slug")
    base_url = serializers.CharField()
    upstream_model = serializers.CharField()
    has_key = serializers.BooleanField()
    timeout = serializers.IntegerField(source="silence")
    capabilities = serializers.ListField(child=serializers.CharField())


class UpstreamAnswerSerializer(serializers.Serializer[Any]):
    success = serializers.BooleanField(default=True)
    upstream = ShownUpstreamSerializer()
