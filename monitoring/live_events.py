"""What happens now, for whoever watches: capped Redis Streams in one envelope.

`{"timestamp", "event_type", "data"}` under `lg:live:<stream>`. A watcher may miss events and no
caller depends on them: a Redis that is away is no obstacle to what happens.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import redis
from django.conf import settings

from llamagpu.lib.redis_client import sync_client

logger = logging.getLogger(__name__)

SYSTEM_METRICS = "system_metrics"
INFERENCE_STATS = "inference_stats"
PLUGIN_EVENTS = "plugin_events"
MODEL_EVENTS = "model_events"
ALERT_EVENTS = "alert_events"
STREAMS = (SYSTEM_METRICS, INFERENCE_STATS, PLUGIN_EVENTS, MODEL_EVENTS, ALERT_EVENTS)
#: Events that a stream holds, about: a watcher that comes late sees the last ones.
MAX_EVENTS = 1000
FIELD = "event"


def key_of(stream: str) -> str:
    return f"lg:live:{stream}"


def latest(stream: str) -> dict[str, Any] | None:
    """The last event of a stream; None where there is none. Raises RedisError."""
    found = sync_client(settings.REDIS_URL).xrevrange(key_of(stream), count=1)
    if not found:
        return None
    event: dict[str, Any] = json.loads(found[0][1][FIELD.encode()])
    return event


def publish(stream: str, event_type: str, data: Mapping[str, Any]) -> None:
    """Append one event. Nothing in `data` may be a secret or a prompt: every watcher reads it."""
    if stream not in STREAMS:
        raise ValueError(f"there is no stream {stream}")
    event = {
        "timestamp": datetime.now(tz=UTC).isoformat(),
        "event_type": event_type,
        "data": dict(data),
    }
    try:
        client = sync_client(settings.REDIS_URL)
        client.xadd(key_of(stream), {FIELD: json.dumps(event)}, maxlen=MAX_EVENTS, approximate=True)
    except redis.RedisError as error:
        logger.warning("an event of %s was not published: %s", stream, error)
