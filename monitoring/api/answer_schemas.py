"""What the calls about the configuration and the audit log answer."""

from __future__ import annotations

from llamagpu.http.schema_words import (
    ANY,
    FLAG,
    TEXT,
    TIME,
    WHOLE,
    answer,
    list_of,
    map_of,
    one_of,
    or_null,
    page,
    page_example,
    record,
    shown,
)

_SETTING = record(
    name=TEXT,
    value=ANY,
    source=one_of("environment", "database", "default"),
    default=ANY,
    variable=TEXT,
    description=TEXT,
    group=TEXT,
    type=TEXT,
    applies=TEXT,
    pending_restart=FLAG,
    editable=FLAG,
)
_SETTING_EXAMPLE = {
    "name": "max_new_tokens", "value": 2048, "source": "default", "default": 2048,
    "variable": "LLAMA_MAX_NEW_TOKENS", "description": "Tokens an answer may have.",
    "group": "inference", "type": "integer", "minimum": 1, "applies": "live",
    "pending_restart": False, "editable": True,
}  # fmt: skip
SETTINGS = shown(
    answer(settings=list_of(_SETTING)), {"success": True, "settings": [_SETTING_EXAMPLE]}
)
CHANGED_SETTINGS = shown(
    answer(changed=list_of(TEXT), settings=list_of(_SETTING)),
    {"success": True, "changed": ["max_new_tokens"], "settings": [_SETTING_EXAMPLE]},
)
CHANGES = {**map_of(ANY), "minProperties": 1}

_AUDIT_ROW = record(
    id=WHOLE,
    created_at=TIME,
    actor=TEXT,
    actor_id=or_null(WHOLE),
    action=TEXT,
    outcome=TEXT,
    target_type=TEXT,
    target_id=TEXT,
    target_name=TEXT,
    ip=or_null(TEXT),
    key_prefix=TEXT,
    request_id=TEXT,
    data=ANY,
    before=ANY,
    after=ANY,
    hash=TEXT,
)
AUDIT_ROWS = shown(
    page(_AUDIT_ROW),
    page_example(
        {
            "id": 41, "created_at": "2026-11-24T20:00:00+00:00", "actor": "ada", "actor_id": 3,
            "action": "api_key.created", "outcome": "allowed", "target_type": "api_key",
            "target_id": "7", "target_name": "nightly", "ip": "192.0.2.7", "key_prefix": "",
            "request_id": "req_5f0c2a7b9d1e4c6f8a0b2d4e", "data": {}, "before": None,
            "after": None, "hash": "9f2c…",
        }
    ),
)  # fmt: skip
