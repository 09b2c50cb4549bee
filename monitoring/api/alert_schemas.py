"""What the calls about alerts answer."""

from __future__ import annotations

from llamagpu.http.schema_words import (
    FLAG,
    NUMBER,
    TEXT,
    TIME,
    UUID,
    WHOLE,
    answer,
    described,
    list_of,
    map_of,
    one_of,
    or_null,
    page,
    page_example,
    record,
    shown,
)
from monitoring.alerts.values import ValueKind
from monitoring.alerts.words import (
    AlertState,
    ChannelKind,
    Comparison,
    DeliveryState,
    Occasion,
    Severity,
)

_LABELS, _SEVERITY = map_of(TEXT), one_of(*Severity)
_ALERT = record(
    id=WHOLE, rule=TEXT, rule_id=or_null(WHOLE), state=one_of(*AlertState), severity=_SEVERITY,
    summary=TEXT, labels=_LABELS, value=NUMBER, started_at=TIME, resolved_at=or_null(TIME),
    notified_at=or_null(TIME), acknowledged_at=or_null(TIME), acknowledged_by=or_null(TEXT),
    note=TEXT,
)  # fmt: skip
ALERT_EXAMPLE = {
    "id": 12, "rule": "A GPU is hot", "rule_id": 8, "state": "firing", "severity": "warning",
    "summary": "A GPU is hot (node gpu-1, gpu 0): gpu_temperature_celsius is 91, > 87.",
    "labels": {"node": "gpu-1", "gpu": "0"}, "value": 91.0,
    "started_at": "2026-11-29T16:00:00+00:00", "resolved_at": None,
    "notified_at": "2026-11-29T16:00:00+00:00", "acknowledged_at": None, "acknowledged_by": None,
    "note": "",
}  # fmt: skip
ALERTS = shown(page(_ALERT), page_example(ALERT_EXAMPLE))
ALERT = shown(answer(alert=_ALERT), {"success": True, "alert": ALERT_EXAMPLE})

_PENDING = record(rule_id=WHOLE, labels=_LABELS, value=NUMBER, held=NUMBER)
STATUS = shown(
    answer(
        evaluated_at=or_null(TIME),
        paused=or_null(described(TEXT, "why no rule is evaluated")),
        rules=WHOLE,
        firing=map_of(WHOLE),
        pending=list_of(_PENDING),
        problems=described(map_of(TEXT), "rules that cannot be evaluated, by number"),
        suppressed=described(WHOLE, "series beyond those of one rule that may fire at once"),
    ),
    {
        "success": True, "evaluated_at": "2026-11-29T16:00:00+00:00", "paused": None, "rules": 12,
        "firing": {"warning": 1},
        "pending": [{"rule_id": 6, "labels": {"model_name": "tiny"}, "value": 0.2, "held": 12.0}],
        "problems": {}, "suppressed": 0,
    },
)  # fmt: skip

_RULE = record(
    id=WHOLE, name=TEXT, summary=TEXT, metric=TEXT, labels=_LABELS, comparison=one_of(*Comparison),
    threshold=NUMBER, duration=WHOLE, window=WHOLE, quantile=NUMBER, severity=_SEVERITY,
    is_enabled=FLAG, is_builtin=FLAG, created_at=TIME, updated_at=TIME,
)  # fmt: skip
_RULE_EXAMPLE = {
    "id": 8, "name": "A GPU is hot", "summary": "It will lower its clocks.",
    "metric": "gpu_temperature_celsius", "labels": {}, "comparison": ">", "threshold": 87.0,
    "duration": 300, "window": 300, "quantile": 0.95, "severity": "warning", "is_enabled": True,
    "is_builtin": True, "created_at": "2026-11-29T16:00:00Z", "updated_at": "2026-11-29T16:00:00Z",
}  # fmt: skip
RULES = shown(page(_RULE), page_example(_RULE_EXAMPLE))
RULE = shown(answer(rule=_RULE), {"success": True, "rule": _RULE_EXAMPLE})

METRICS = shown(
    answer(
        metrics=list_of(record(name=TEXT, help=TEXT, labels=list_of(TEXT), kind=one_of(*ValueKind)))
    ),
    {
        "success": True,
        "metrics": [
            {"name": "workers", "help": "Workers that serve.", "labels": [], "kind": "level"}
        ],
    },
)

_SILENCE = record(
    id=WHOLE, rule=or_null(TEXT), rule_id=or_null(WHOLE), labels=_LABELS, starts_at=TIME,
    ends_at=TIME, comment=TEXT, created_by=TEXT, created_at=TIME, active=FLAG,
)  # fmt: skip
_SILENCE_EXAMPLE = {
    "id": 3, "rule": "A GPU is hot", "rule_id": 8, "labels": {"node": "gpu-1"},
    "starts_at": "2026-11-29T16:00:00Z", "ends_at": "2026-12-01T08:00:00Z", "comment": "new fans",
    "created_by": "ada", "created_at": "2026-11-29T16:00:00Z", "active": True,
}  # fmt: skip
SILENCES = shown(page(_SILENCE), page_example(_SILENCE_EXAMPLE))
SILENCE = shown(answer(silence=_SILENCE), {"success": True, "silence": _SILENCE_EXAMPLE})

_CHANNEL = record(
    id=WHOLE, name=TEXT, kind=one_of(*ChannelKind), target=TEXT, min_severity=_SEVERITY,
    is_enabled=FLAG, has_secret=FLAG, created_at=TIME, updated_at=TIME,
)  # fmt: skip
_CHANNEL_EXAMPLE = {
    "id": 2, "name": "pager", "kind": "webhook", "target": "https://hooks.example.org",
    "min_severity": "critical", "is_enabled": True, "has_secret": True,
    "created_at": "2026-11-29T16:00:00Z", "updated_at": "2026-11-29T16:00:00Z",
}  # fmt: skip
CHANNELS = shown(page(_CHANNEL), page_example(_CHANNEL_EXAMPLE))
CHANNEL = shown(answer(channel=_CHANNEL), {"success": True, "channel": _CHANNEL_EXAMPLE})
NEW_CHANNEL = shown(
    answer(
        channel=_CHANNEL,
        secret=described(or_null(TEXT), "one that was made, never shown again"),
    ),
    {"success": True, "channel": _CHANNEL_EXAMPLE, "secret": "<43 characters>"},
)

_DELIVERY = record(
    id=UUID, channel=TEXT, channel_id=WHOLE, alert=or_null(WHOLE), occasion=one_of(*Occasion),
    state=one_of(*DeliveryState), attempts=WHOLE, next_attempt_at=or_null(TIME), error=TEXT,
    created_at=TIME, sent_at=or_null(TIME),
)  # fmt: skip
_DELIVERY_EXAMPLE = {
    "id": "2f6c0f2e-6a0b-4b53-9b1c-0f4f0f6a7a11", "channel": "pager", "channel_id": 2, "alert": 12,
    "occasion": "firing", "state": "sent", "attempts": 1, "next_attempt_at": None, "error": "",
    "created_at": "2026-11-29T16:00:00Z", "sent_at": "2026-11-29T16:00:01Z",
}  # fmt: skip
DELIVERIES = shown(page(_DELIVERY), page_example(_DELIVERY_EXAMPLE))
DELIVERY = shown(answer(delivery=_DELIVERY), {"success": True, "delivery": _DELIVERY_EXAMPLE})
