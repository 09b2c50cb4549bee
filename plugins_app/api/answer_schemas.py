"""What the calls about plugins answer."""

from __future__ import annotations

from llamagpu.http.schema_words import (
    ANY,
    FLAG,
    NUMBER,
    OBJECT,
    TEXT,
    TIME,
    WHOLE,
    answer,
    described,
    list_of,
    map_of,
    one_of,
    or_null,
    record,
    shown,
)
from plugins_app.spec import FailurePolicy, Tier
from plugins_app.states import PluginState

_STATE = one_of(*(state.value for state in PluginState))
_WORKER = record(
    worker=TEXT,
    state=TEXT,
    error=TEXT,
    version=TEXT,
    generation=described(WHOLE, "of the change that it runs"),
    tried_generation=described(WHOLE, "of the change that it has taken up, or failed to"),
    pid=or_null(WHOLE),
    memory=described(or_null(WHOLE), "bytes of its process"),
    restarts=WHOLE,
    breaker=TEXT,
    isolation=described(list_of(TEXT), "the walls around it that hold"),
)
_FIELDS = {
    "id": TEXT,
    "name": TEXT,
    "version": TEXT,
    "author": TEXT,
    "description": TEXT,
    "tier": one_of(*(tier.value for tier in Tier)),
    "category": or_null(TEXT),
    "hooks": list_of(TEXT),
    "compatibility": list_of(TEXT),
    "dependencies": list_of(TEXT),
    "api_version": or_null(WHOLE),
    "state": _STATE,
    "problem": described(or_null(TEXT), "why it does not run"),
    "enabled": FLAG,
    "order": described(WHOLE, "the lower one acts first"),
    "policy": one_of(*(policy.value for policy in FailurePolicy)),
    "models": described(list_of(TEXT), "none: it applies to all"),
    "roles": described(list_of(TEXT), "none: it applies to all"),
    "budget": map_of(NUMBER),
    "sha256": described(or_null(TEXT), "of its files as they are"),
    "approved": FLAG,
    "approved_by": or_null(TEXT),
    "approved_at": or_null(TIME),
    "uploaded": FLAG,
    "generation": described(WHOLE, "rises with each change"),
    "updated_at": TIME,
    "settings_schema": or_null(OBJECT),
    "config": described(
        or_null(OBJECT), "its settings, secrets null; null for who may not change plugins"
    ),
    "path": described(or_null(TEXT), "null for who may not change plugins"),
    "workers": list_of(_WORKER),
}
_PLUGIN = record(**_FIELDS)
_HEALTH = record(
    calls=WHOLE,
    refusals=WHOLE,
    skipped=described(WHOLE, "calls that an open breaker has spared"),
    errors=described(map_of(WHOLE), "faults by kind"),
    p50=or_null(NUMBER),
    p95=or_null(NUMBER),
    p99=or_null(NUMBER),
    resident_bytes=or_null(WHOLE),
    restarts=WHOLE,
    breaker=TEXT,
)
_WHOLE_PLUGIN = record(**_FIELDS, health=or_null(_HEALTH))
_HEALTH_EXAMPLE = {
    "calls": 120, "refusals": 0, "skipped": 0, "errors": {"timeout": 1}, "p50": 0.0006,
    "p95": 0.0011, "p99": 0.002, "resident_bytes": 21504000, "restarts": 1, "breaker": "closed",
}  # fmt: skip
_EXAMPLE = {
    "id": "response_filter", "name": "Response filter", "version": "1.0.0",
    "author": "LLaMA GPU", "description": "Replaces words in answers.", "tier": "community",
    "category": "stream_filter", "hooks": ["chunk"], "compatibility": ["cuda", "rocm", "cpu"],
    "dependencies": [], "api_version": 1, "state": "active", "problem": None, "enabled": True,
    "order": 100, "policy": "fail_open", "models": [], "roles": [],
    "budget": {"call_timeout": 2.0, "memory_bytes": 536870912},
    "sha256": "b5bb9d8014a0f9b1d61e21e796d78dccdf1352f23cd32812f4850b878ae4944c",
    "approved": True, "approved_by": "admin", "approved_at": "2026-11-29T12:00:00+00:00",
    "uploaded": False, "generation": 7, "updated_at": "2026-11-29T12:00:03+00:00",
    "settings_schema": None, "config": {}, "path": None, "workers": [],
}  # fmt: skip
_CHANGE = record(number=WHOLE, actor=TEXT, created_at=TIME, before=OBJECT, after=OBJECT)
_CHANGE_EXAMPLE = {
    "number": 2, "actor": "admin", "created_at": "2026-11-29T12:00:00+00:00",
    "before": {"words": []}, "after": {"words": ["secret"]},
}  # fmt: skip
_ONE = answer(plugin=_PLUGIN)
_ONE_EXAMPLE = {"success": True, "plugin": _EXAMPLE}

PLUGINS = shown(
    answer(count=WHOLE, plugins=list_of(_PLUGIN)),
    {"success": True, "count": 1, "plugins": [_EXAMPLE]},
)
PLUGIN = shown(_ONE, _ONE_EXAMPLE)
WHOLE_PLUGIN = shown(
    answer(plugin=_WHOLE_PLUGIN),
    {"success": True, "plugin": _EXAMPLE | {"health": _HEALTH_EXAMPLE}},
)
UNDER_WAY = {
    200: shown(_ONE, _ONE_EXAMPLE, "Every worker has taken it up."),
    202: shown(_ONE, _ONE_EXAMPLE, "No worker has said so yet."),
}
SCANNED = shown(
    answer(
        num_found=WHOLE,
        added=list_of(TEXT),
        changed=list_of(TEXT),
        gone=list_of(TEXT),
        rejected=described(map_of(TEXT), "why each of them cannot be loaded"),
    ),
    {
        "success": True, "num_found": 12, "added": ["loud"], "changed": [], "gone": [],
        "rejected": {"broken": "file: is not Python: invalid syntax (line 1)"},
    },
)  # fmt: skip
HISTORY = shown(
    answer(count=WHOLE, changes=list_of(_CHANGE)),
    {"success": True, "count": 1, "changes": [_CHANGE_EXAMPLE]},
)
TRIED = shown(
    answer(
        plugin=TEXT,
        hook=TEXT,
        outcome=described(one_of("answered", "refused", "failed"), "how the call went"),
        result=described(ANY, "the context as the plugin gave it back; null where it did not"),
        reason=described(or_null(TEXT), "of a refusal or a fault"),
        duration=described(NUMBER, "seconds of the call"),
    ),
    {
        "success": True, "plugin": "response_filter", "hook": "chunk", "outcome": "answered",
        "result": {"text": "***"}, "reason": None, "duration": 0.0009,
    },
)  # fmt: skip
