"""The state of the system as one measured snapshot. Apps above add their sections by registering.

Figures of machines are their monitors' last readings; where this one has no living monitor they are
measured here and now.
"""

from __future__ import annotations

import dataclasses
import logging
import socket
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import psutil
import redis
from django.conf import settings

from llamagpu.lib.redis_client import sync_client
from llamagpu.lib.version import VERSION
from monitoring.collectors.node import NodeReader, NodeReading
from monitoring.health import ProbeResult, check_health, check_parts, register_parts
from monitoring.monitor.presence import MonitorReport, live_monitors
from monitoring.monitor.system_metrics import describe_gpu, gpu_memory, gpu_usage, sum_by_role

logger = logging.getLogger(__name__)

Section = Callable[[], Any]

_reader: NodeReader | None = None
_sections: dict[str, Section] = {}


def register_section(name: str, section: Section) -> None:
    _sections[name] = section


def register() -> None:
    """Called when the app is ready."""
    register_parts("monitors", monitor_parts)


def take_snapshot() -> dict[str, Any]:
    """Every number is measured; what cannot be measured is null and says why."""
    probes, reports = check_health(), read_reports()
    reading, measured_by = _reading_here(reports)
    snapshot: dict[str, Any] = {
        "status": "healthy" if all(probe.healthy for probe in probes) else "degraded",
        "timestamp": datetime.now(tz=UTC).isoformat(),
        "uptime": time.time() - psutil.Process().create_time(),
        "version": VERSION,
        "node": socket.gethostname(),
        "measured_by": measured_by,
        **describe_machine(reading),
        "nodes": {node: _brief(report) for node, report in reports.items()},
        "services": {part.name: _shown(part) for part in [*probes, *check_parts()]},
    }
    for name, section in _sections.items():
        snapshot[name] = section()
    return snapshot


def describe_machine(reading: NodeReading) -> dict[str, Any]:
    return {
        "cpu": dataclasses.asdict(reading.cpu),
        "memory": dataclasses.asdict(reading.memory),
        "swap": dataclasses.asdict(reading.swap),
        "disk": _or_none(reading.disks[0] if reading.disks else None),
        "disks": [dataclasses.asdict(disk) for disk in reading.disks],
        "disk_traffic": _or_none(reading.disk_traffic),
        "network": _or_none(reading.network),
        "container": _or_none(reading.container),
        "gpu": [describe_gpu(gpu) for gpu in reading.gpus] or None,
        "gpu_reason": reading.gpu_reason or None,
        "processes": sum_by_role(reading.processes),
    }


def read_reports() -> dict[str, MonitorReport | None]:
    """Of every node's monitor, None for a silent one; empty where Redis does not answer."""
    try:
        return live_monitors(sync_client(settings.REDIS_URL))
    except redis.RedisError:
        return {}


def read_gpus() -> dict[str, tuple[list[dict[str, Any]], str | None]]:
    """By node: its GPUs, and why there is none."""
    reports = {node: report for node, report in read_reports().items() if report is not None}
    readings = {node: report.reading for node, report in reports.items()}
    if not readings:
        readings = {socket.gethostname(): _measure()}
    return {
        node: ([describe_gpu(gpu) for gpu in reading.gpus], reading.gpu_reason or None)
        for node, reading in readings.items()
    }


def monitor_parts() -> list[ProbeResult]:
    """The monitor of each node."""
    return [
        ProbeResult(f"monitor:{node}", report is not None, _told(report), 0.0)
        for node, report in read_reports().items()
    ] or [ProbeResult("monitor", False, "no monitor is running", 0.0)]


def _told(report: MonitorReport | None) -> str:
    if report is None:
        return "it does not report any more"
    part = "leads" if report.is_leader else "samples its node"
    lost = f"; {report.dropped} samples were lost" if report.dropped else ""
    return f"process {report.pid} {part}, every {report.interval:g} s{lost}"


def _brief(report: MonitorReport | None) -> dict[str, Any] | None:
    if report is None:
        return None
    reading = report.reading
    return {
        "measured_at": datetime.fromtimestamp(reading.unix, UTC).isoformat(),
        "is_leader": report.is_leader,
        "cpu_usage": reading.cpu.usage,
        "memory_usage": reading.memory.usage,
        "gpu_usage": gpu_usage(reading.gpus),
        "gpu_memory": gpu_memory(reading.gpus),
        "gpu_reason": reading.gpu_reason or None,
    }


def _reading_here(reports: dict[str, MonitorReport | None]) -> tuple[NodeReading, str]:
    report = reports.get(socket.gethostname()[:64])
    return (report.reading, "monitor") if report is not None else (_measure(), "web")


def _measure() -> NodeReading:
    """By this process itself. Its own children are not known here, so no process is told."""
    global _reader
    if _reader is None:
        _reader = NodeReader((settings.LLAMA.data_dir, settings.LLAMA.model_path), root=0)
    return _reader.read()


def _shown(part: ProbeResult) -> dict[str, Any]:
    return dataclasses.asdict(part)


def _or_none(value: Any) -> dict[str, Any] | None:
    return None if value is None else dataclasses.asdict(value)
