"""Which streams there are, who may watch each, and what a watcher may ask."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Any

from rest_framework import serializers

from llamagpu.http.errors import AppError
from llamagpu.http.fields import FlagField, StrictSerializer, TextField
from llamagpu.http.permissions import READ_MODELS, READ_MONITORING, READ_PLUGINS, Access
from llamagpu.http.sockets.caller import SocketCaller
from llamagpu.lib.error_codes import ErrorCode
from monitoring.live_events import (
    ALERT_EVENTS,
    INFERENCE_STATS,
    MODEL_EVENTS,
    PLUGIN_EVENTS,
    STREAMS,
    SYSTEM_METRICS,
)

RULES: dict[str, Access] = {
    SYSTEM_METRICS: READ_MONITORING,
    INFERENCE_STATS: READ_MONITORING,
    PLUGIN_EVENTS: READ_PLUGINS,
    MODEL_EVENTS: READ_MODELS,
    ALERT_EVENTS: READ_MONITORING,
}
#: Of these only the newest matters: who is slow gets that one and none of those before.
LATEST_ONLY = frozenset({SYSTEM_METRICS, INFERENCE_STATS})

ACTIONS = ("subscribe", "unsubscribe", "ping")


class StreamsField(serializers.ListField):
    """Names of streams."""

    default_error_messages = {"unknown": "There is no stream {name!r}; there are {known}."}

    def __init__(self, **kwargs: Any) -> None:
        child = TextField(max_length=64)
        super().__init__(child=child, allow_empty=False, max_length=len(STREAMS), **kwargs)

    def to_internal_value(self, data: Any) -> list[str]:
        names = list(dict.fromkeys(super().to_internal_value(data)))
        for name in names:
            if name not in RULES:
                self.fail("unknown", name=name, known=", ".join(STREAMS))
        return names


class StreamRequest(StrictSerializer):
    """A message that names streams; `id` is the caller's own and comes back with the answer."""

    action = serializers.ChoiceField(choices=ACTIONS)
    id = TextField(required=False, max_length=128)
    streams = StreamsField()


class SubscribeRequest(StreamRequest):
    """`since` is the id of the last event that the caller has; `ids` has each event tell its own."""

    since = serializers.RegexField(r"\A\d{1,15}-\d{1,10}\Z", required=False)
    ids = FlagField(required=False)


class RoomRequest(StrictSerializer):
    """What a client of Socket.IO asks for."""

    streams = StreamsField()


class PingRequest(StrictSerializer):
    action = serializers.ChoiceField(choices=ACTIONS)
    id = TextField(required=False, max_length=128)


def allowed_streams(caller: SocketCaller) -> list[str]:
    """Those that the caller may watch."""
    return [stream for stream in STREAMS if caller.allows(RULES[stream])]


def check_allowed(caller: SocketCaller, streams: Iterable[str]) -> None:
    """Raises AppError PERMISSION_DENIED that names what the caller may not watch."""
    allowed = allowed_streams(caller)
    refused = [stream for stream in streams if stream not in allowed]
    if refused:
        raise AppError(
            ErrorCode.PERMISSION_DENIED,
            f"streams: your role or your key does not allow {', '.join(refused)}.",
        )


def rules_of(streams: Collection[str]) -> set[Access]:
    return {RULES[stream] for stream in streams}
