"""A machine's reading as a row of the history."""

from __future__ import annotations

from typing import Any

from monitoring.collectors.node import NodeReading
from monitoring.history.figures import NODE_FIGURES, ROLES, listed
from monitoring.history.samples import Sample
from monitoring.monitor.system_metrics import gpu_memory, gpu_usage, sum_by_role


def node_sample(node: str, reading: NodeReading, covered: float) -> Sample:
    """`covered` are the seconds that this reading stands for."""
    disk = reading.disks[0] if reading.disks else None
    traffic, network, container = reading.disk_traffic, reading.network, reading.container
    peaks = {
        "cpu_usage": reading.cpu.usage,
        "memory_usage": reading.memory.usage,
        "gpu_usage": gpu_usage(reading.gpus),
        "gpu_memory": gpu_memory(reading.gpus),
    }
    temperatures = [gpu.temperature for gpu in reading.gpus if gpu.temperature is not None]
    powers = [gpu.power for gpu in reading.gpus if gpu.power is not None]
    figures: dict[str, Any] = {
        **peaks,
        **{f"{name}_max": value for name, value in peaks.items()},
        "load": reading.cpu.load_1m,
        "memory_used": reading.memory.used,
        "swap_used": reading.swap.used,
        "disk_usage": disk.usage if disk else None,
        "disk_used": disk.used if disk else None,
        "disk_read_bytes": traffic.read_bytes if traffic else None,
        "disk_write_bytes": traffic.write_bytes if traffic else None,
        "network_received_bytes": network.received_bytes if network else None,
        "network_sent_bytes": network.sent_bytes if network else None,
        "gpu_temperature_max": max(temperatures, default=None),
        "gpu_power": sum(powers) if powers else None,
        "container_cpu_usage": container.cpu_usage if container else None,
        "container_memory_usage": container.memory_usage if container else None,
    }
    for role, used in sum_by_role(reading.processes).items():
        if role in ROLES:
            figures[f"{role}_cpu"], figures[f"{role}_rss"] = used["cpu"], used["rss"]
    return Sample(node, 1, int(reading.unix), covered, listed(NODE_FIGURES, figures))
