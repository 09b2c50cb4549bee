"""What the calls about models answer."""

from __future__ import annotations

from inference.states import ModelState
from llamagpu.http.schema_words import (
    FLAG,
    NUMBER,
    OBJECT,
    TEXT,
    WHOLE,
    answer,
    call_example,
    described,
    list_of,
    map_of,
    one_of,
    or_null,
    record,
    shown,
)

_STATE = one_of(*(state.value for state in ModelState))
_MODEL = record(
    id=TEXT,
    source=TEXT,
    revision=or_null(TEXT),
    sha256=or_null(TEXT),
    architecture=TEXT,
    format=TEXT,
    stored_dtype=TEXT,
    num_parameters=or_null(WHOLE),
    size=described(or_null(WHOLE), "bytes of its weights"),
    context_length=or_null(WHOLE),
    is_default=FLAG,
    enabled=FLAG,
    pinned=FLAG,
    keep_alive=described(or_null(WHOLE), "seconds; -1: for ever; null: the server's"),
    desired_state=TEXT,
    load_options=OBJECT,
    replicas=or_null(WHOLE),
    limits=map_of(or_null(WHOLE)),
    pull_error=or_null(TEXT),
    state=_STATE,
    loaded=FLAG,
    progress=described(or_null(NUMBER), "0 to 1 while it loads"),
    backend=or_null(TEXT),
    dtype=or_null(TEXT),
    memory=described(or_null(WHOLE), "bytes that its engines hold"),
    capabilities=or_null(OBJECT),
    metrics=or_null(OBJECT),
)
_EXAMPLE = {
    "id": "smollm2-135m-instruct", "source": "path:smollm2-135m-instruct", "revision": None,
    "sha256": None, "architecture": "LlamaForCausalLM", "format": "safetensors",
    "stored_dtype": "bfloat16", "num_parameters": 134515008, "size": 269060552,
    "context_length": 8192, "is_default": True, "enabled": True, "pinned": False,
    "keep_alive": None, "desired_state": "auto", "load_options": {}, "replicas": None,
    "limits": {"max_model_len": None, "max_running": None, "max_new_tokens": None},
    "pull_error": None, "state": "ready", "loaded": True, "progress": None, "backend": "cpu",
    "dtype": "float32", "memory": 1249206272, "capabilities": None, "metrics": None,
}  # fmt: skip
_PULL = record(
    stage=TEXT,
    fraction=NUMBER,
    bytes=or_null(WHOLE),
    total=or_null(WHOLE),
    rate=or_null(NUMBER),
    seconds_left=or_null(NUMBER),
    worker=TEXT,
)
_PROGRESS = record(
    state=_STATE,
    desired_state=TEXT,
    stage=TEXT,
    fraction=described(NUMBER, "0 to 1 of the stage"),
    error=TEXT,
    engines=list_of(
        record(worker=TEXT, state=_STATE, stage=TEXT, fraction=NUMBER, error=TEXT, memory=WHOLE)
    ),
    pull=or_null(_PULL),
    note=TEXT,
)
_PROGRESS_EXAMPLE = {
    "state": "loading", "desired_state": "loaded", "stage": "weights", "fraction": 0.4,
    "error": "", "engines": [], "pull": None, "note": "",
}  # fmt: skip
_ON_ITS_WAY = {
    "success": True, "model": "smollm2-135m-instruct", "state": "loading",
    "desired_state": "loaded", "progress": _PROGRESS_EXAMPLE,
    "progress_url": "/api/models/smollm2-135m-instruct/progress",
}  # fmt: skip
_CHANGE = answer(
    ("freed_memory",),
    model=TEXT,
    state=_STATE,
    desired_state=TEXT,
    progress=_PROGRESS,
    progress_url=TEXT,
    freed_memory=described(WHOLE, "bytes"),
)

REGISTRATIONS = [
    call_example({"source": "hub:org/name@main", "name": "chat", "keep_alive": 3600}, "of a hub"),
    call_example({"source": "path:my-model"}, "a folder"),
    call_example(
        {
            "source": "remote:http://gpu-1.example.org:8000/v1",
            "upstream_model": "org/Some-Model",
            "context_length": 32768,
            "name": "some-model",
        },
        "of another server",
    ),
]
MODEL = shown(answer(model=_MODEL), {"success": True, "model": _EXAMPLE})
MODELS = shown(
    answer(count=WHOLE, models=list_of(_MODEL)),
    {"success": True, "count": 1, "models": [_EXAMPLE]},
)
CHANGE = {
    200: shown(_CHANGE, _ON_ITS_WAY | {"state": "ready"}, "It is so."),
    202: shown(_CHANGE, _ON_ITS_WAY, "On its way: `progress_url` tells on."),
}
_GONE = answer(model=TEXT, state=_STATE, freed_memory=WHOLE)
_GONE_EXAMPLE = {
    "success": True, "model": "old-model", "state": "available", "freed_memory": 1249206272,
}  # fmt: skip
REMOVED = {
    200: shown(_GONE, _GONE_EXAMPLE, "It is gone."),
    202: shown(_GONE, _GONE_EXAMPLE, "Requests still end."),
}
PROGRESS = shown(
    answer(model=TEXT, progress=_PROGRESS),
    {"success": True, "model": "smollm2-135m-instruct", "progress": _PROGRESS_EXAMPLE},
)

_UPSTREAM = record(
    model=TEXT,
    base_url=TEXT,
    upstream_model=TEXT,
    has_key=FLAG,
    timeout=described(WHOLE, "seconds that it may send nothing"),
    capabilities=list_of(TEXT),
)
UPSTREAM = shown(
    answer(upstream=_UPSTREAM),
    {
        "success": True,
        "upstream": {
            "model": "large", "base_url": "https://gpu.example.org/v1", "has_key": True,
            "upstream_model": "meta/large", "timeout": 120, "capabilities": ["chat", "stream"],
        },
    },
)  # fmt: skip
