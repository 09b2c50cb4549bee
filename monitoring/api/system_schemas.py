"""What the calls about figures of machines answer."""

from __future__ import annotations

from llamagpu.http.schema_words import (
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
from monitoring.history.query import GRANULARITIES, TIMEFRAMES

_PROBE = record(name=TEXT, healthy=FLAG, detail=TEXT, latency=or_null(NUMBER))
#: Apps add sections of their own, such as `workers`, `queue` and `statistics`.
STATUS = shown(
    record(
        ("deep",),
        status=one_of("healthy", "degraded"),
        timestamp=TIME,
        uptime=NUMBER,
        version=TEXT,
        node=TEXT,
        measured_by=one_of("monitor", "web"),
        cpu=OBJECT,
        memory=OBJECT,
        swap=OBJECT,
        disk=or_null(OBJECT),
        disks=list_of(OBJECT),
        disk_traffic=or_null(OBJECT),
        network=or_null(OBJECT),
        container=or_null(OBJECT),
        gpu=or_null(list_of(OBJECT)),
        gpu_reason=or_null(TEXT),
        processes=map_of(OBJECT),
        nodes=map_of(or_null(OBJECT)),
        services=map_of(_PROBE),
        deep=described(_PROBE, "with `deep=true`: whether a token came out"),
    ),
    {
        "status": "healthy", "timestamp": "2026-11-24T20:00:00+00:00", "uptime": 401.5,
        "version": "0.1.0", "node": "gpu1", "measured_by": "monitor",
        "cpu": {
            "usage": 12.5, "count": 2, "load_1m": 0.4, "load_5m": 0.3, "load_15m": 0.3,
            "cores": [20.0, 5.0],
        },
        "memory": {
            "total": 25276514304, "available": 20086030336, "used": 5190483968, "usage": 20.5,
            "limit": None,
        },
        "swap": {"total": 0, "used": 0, "usage": 0.0},
        "disk": {
            "path": "/var/lib/llamagpu", "total": 270553174016, "used": 36337635328,
            "free": 72606658560, "usage": 33.4,
        },
        "disks": [],
        "disk_traffic": {"read_bytes": 0.0, "write_bytes": 8192.0, "reads": 0.0, "writes": 2.0},
        "network": {"received_bytes": 310.0, "sent_bytes": 5120.0, "errors": 0.0, "drops": 0.0},
        "container": None, "gpu": None, "gpu_reason": "no NVIDIA GPU was found",
        "processes": {
            "web": {
                "count": 1, "cpu": 3.0, "rss": 146800640, "pss": 94371840, "threads": 6, "fds": 24,
            }
        },
        "nodes": {
            "gpu1": {
                "measured_at": "2026-11-24T20:00:00+00:00", "is_leader": True, "cpu_usage": 12.5,
                "memory_usage": 20.5, "gpu_usage": None, "gpu_memory": None,
                "gpu_reason": "no NVIDIA GPU was found",
            }
        },
        "services": {
            "redis": {
                "name": "redis", "healthy": True, "detail": "valkey 9.1.2 answers",
                "latency": 0.0001,
            }
        },
        "workers": [], "queue": {"waiting": 0, "engine_waiting": 0, "engine_running": 0},
    },
)  # fmt: skip

_GPU = record(
    ("processes", "throttle_reasons"),
    node=TEXT,
    index=WHOLE,
    vendor=TEXT,
    name=TEXT,
    uuid=TEXT,
    utilization=or_null(NUMBER),
    memory_total=or_null(WHOLE),
    memory_used=or_null(WHOLE),
    memory_usage=or_null(NUMBER),
    memory_bandwidth=or_null(NUMBER),
    temperature=or_null(NUMBER),
    power=or_null(NUMBER),
    power_limit=or_null(NUMBER),
    clock_core=or_null(WHOLE),
    clock_memory=or_null(WHOLE),
    throttle_reasons=or_null(list_of(TEXT)),
    processes=or_null(list_of(record(pid=WHOLE, memory=or_null(WHOLE)))),
    error=TEXT,
)
GPUS = shown(
    answer(
        gpus=list_of(_GPU),
        reasons=described(map_of(or_null(TEXT)), "for each node, why it has no GPU"),
    ),
    {
        "success": True,
        "gpus": [
            {
                "node": "gpu1", "index": 0, "vendor": "nvidia", "name": "NVIDIA H200",
                "uuid": "GPU-0b1c", "utilization": 87.0, "memory_total": 150754820096,
                "memory_used": 96636764160, "memory_usage": 64.1, "memory_bandwidth": 41.0,
                "temperature": 61.0, "power": 512.4, "power_limit": 700.0, "clock_core": 1980,
                "clock_memory": 3201, "throttle_reasons": [],
                "processes": [{"pid": 4711, "memory": 96636764160}], "error": "",
            }
        ],
        "reasons": {"gpu1": None, "web1": "NVML Shared Library Not Found"},
    },
)  # fmt: skip

_SERIES = record(
    name=TEXT,
    node=described(or_null(TEXT), "null for the installation as a whole"),
    unit=TEXT,
    values=described(
        list_of(or_null(NUMBER)), "one for each bucket; null where nothing was measured"
    ),
)
HISTORY = shown(
    answer(
        timeframe=one_of(*TIMEFRAMES),
        granularity=one_of(*GRANULARITIES),
        start=described(TIME, "where the first bucket begins"),
        end=described(TIME, "where the last one, which may still be open, ends"),
        step=described(WHOLE, "seconds of a bucket"),
        series=list_of(_SERIES),
    ),
    {
        "success": True, "timeframe": "1h", "granularity": "15m",
        "start": "2026-11-24T19:00:00+00:00", "end": "2026-11-24T20:00:00+00:00", "step": 900,
        "series": [
            {"name": "cpu_usage", "node": "gpu1", "unit": "percent",
             "values": [12.5, None, 31.2, 30.8]},
            {"name": "latency_p95", "node": None, "unit": "seconds",
             "values": [0.81, None, None, 1.2]},
        ],
    },
)  # fmt: skip
