"""The state of the system as one measured snapshot. Apps above add their sections by registering."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

import psutil
from django.conf import settings

from llamagpu.lib.version import VERSION
from monitoring.collectors.gpu import GpuReader
from monitoring.collectors.host import CpuMeter, read_disk, read_memory
from monitoring.health import check_health

Section = Callable[[], Any]

_cpu = CpuMeter()
_gpus = GpuReader()
_sections: dict[str, Section] = {}


def register_section(name: str, section: Section) -> None:
    _sections[name] = section


def take_snapshot() -> dict[str, Any]:
    """Every number is measured now; what cannot be measured is null and says why."""
    probes = check_health()
    gpus = [asdict(gpu) for gpu in _gpus.read()]
    snapshot: dict[str, Any] = {
        "status": "healthy" if all(probe.healthy for probe in probes) else "degraded",
        "timestamp": datetime.now(tz=UTC).isoformat(),
        "uptime": time.time() - psutil.Process().create_time(),
        "version": VERSION,
        "cpu": asdict(_cpu.read()),
        "memory": asdict(read_memory()),
        "disk": asdict(read_disk(settings.LLAMA.data_dir)),
        "gpu": gpus or None,
        "gpu_reason": None if gpus else _gpus.reason or "no NVIDIA GPU was found",
        "services": {probe.name: asdict(probe) for probe in probes},
    }
    for name, section in _sections.items():
        snapshot[name] = section()
    return snapshot
