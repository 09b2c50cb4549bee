"""A machine's reading as the event `system_metrics` that watchers get."""

from __future__ import annotations

import dataclasses
from collections import defaultdict
from collections.abc import Iterable
from typing import Any

from monitoring.collectors.gpu import GpuUsage
from monitoring.collectors.node import NodeReading
from monitoring.collectors.processes import ProcessUsage


def describe_node(node: str, reading: NodeReading) -> dict[str, Any]:
    """Figures of now: percent, bytes, bytes a second. What is not there is null."""
    gpus, disk = reading.gpus, reading.disks[0] if reading.disks else None
    traffic, network = reading.disk_traffic, reading.network
    return {
        "node": node,
        "cpu_usage": reading.cpu.usage,
        "cpu_cores": reading.cpu.cores,
        "load": [reading.cpu.load_1m, reading.cpu.load_5m, reading.cpu.load_15m],
        "memory_usage": reading.memory.usage,
        "memory_used": reading.memory.used,
        "memory_total": reading.memory.total,
        "swap_used": reading.swap.used,
        "disk_usage": disk.usage if disk else None,
        "disk_used": disk.used if disk else None,
        "disk_free": disk.free if disk else None,
        "disk_read_bytes": traffic.read_bytes if traffic else None,
        "disk_write_bytes": traffic.write_bytes if traffic else None,
        "network_received_bytes": network.received_bytes if network else None,
        "network_sent_bytes": network.sent_bytes if network else None,
        "container": dataclasses.asdict(reading.container) if reading.container else None,
        "gpu_usage": gpu_usage(gpus),
        "gpu_memory": gpu_memory(gpus),
        "gpu_reason": reading.gpu_reason or None,
        "gpus": [describe_gpu(gpu) for gpu in gpus],
        "processes": sum_by_role(reading.processes),
    }


def describe_gpu(gpu: GpuUsage) -> dict[str, Any]:
    return {**dataclasses.asdict(gpu), "memory_usage": gpu.memory_usage}


def gpu_usage(gpus: Iterable[GpuUsage]) -> float | None:
    """Percent that all GPUs compute, as a mean of those that tell."""
    told = [gpu.utilization for gpu in gpus if gpu.utilization is not None]
    return round(sum(told) / len(told), 1) if told else None


def gpu_memory(gpus: Iterable[GpuUsage]) -> float | None:
    """Percent of all GPUs' memory together."""
    told = [gpu for gpu in gpus if gpu.memory_used is not None and gpu.memory_total]
    total = sum(gpu.memory_total or 0 for gpu in told)
    return round(100 * sum(gpu.memory_used or 0 for gpu in told) / total, 1) if total else None


def sum_by_role(processes: Iterable[ProcessUsage]) -> dict[str, dict[str, Any]]:
    """`{role: {count, cpu, rss, pss, threads, fds}}`: figures of all processes of a role together."""
    grouped: dict[str, list[ProcessUsage]] = defaultdict(list)
    for process in processes:
        grouped[process.role.value].append(process)
    return {
        role: {
            "count": len(group),
            "cpu": _sum(process.cpu for process in group),
            "rss": sum(process.rss for process in group),
            "pss": _sum(process.pss for process in group),
            "threads": sum(process.threads for process in group),
            "fds": _sum(process.fds for process in group),
        }
        for role, group in sorted(grouped.items())
    }


def _sum(values: Iterable[float | None]) -> float | None:
    """None where none of them is known."""
    known = [value for value in values if value is not None]
    return round(sum(known), 1) if known else None
