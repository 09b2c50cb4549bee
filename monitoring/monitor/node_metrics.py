"""A machine's last reading as metrics, beside the history and the live stream."""

from __future__ import annotations

from monitoring.collectors.gpu import GpuUsage
from monitoring.collectors.node import NodeReading
from monitoring.metrics import REGISTRY, Gauge, Merge
from monitoring.monitor.system_metrics import sum_by_role


def _gauge(name: str, help: str, *labels: str) -> Gauge:
    return Gauge(name, help, ("node", *labels), merge=Merge.LAST)


CPU = _gauge("node_cpu_usage_ratio", "Busy part of all cores, 0 to 1.")
CORES = _gauge("node_cpu_cores", "Cores.")
LOAD = _gauge("node_load1", "Load over a minute.")
MEMORY_USED = _gauge("node_memory_used_bytes", "Memory in use.")
MEMORY_TOTAL = _gauge("node_memory_total_bytes", "Memory of the machine.")
SWAP_USED = _gauge("node_swap_used_bytes", "Swapped out.")
DISK_USED = _gauge("node_disk_used_bytes", "Used on a file system.", "path")
DISK_TOTAL = _gauge("node_disk_total_bytes", "Size of a file system.", "path")
DISK_TRAFFIC = _gauge("node_disk_bytes_per_second", "Through all disks.", "direction")
NETWORK_TRAFFIC = _gauge("node_network_bytes_per_second", "Through real interfaces.", "direction")
CONTAINER_CPU = _gauge("node_container_cpu_usage_ratio", "Used part of the limit, 0 to 1.")
CONTAINER_MEMORY = _gauge("node_container_memory_usage_ratio", "Used part of the limit, 0 to 1.")
PROCESS_CPU = _gauge(
    "node_process_cpu_cores", "Cores that a part of the portal keeps busy.", "role"
)
PROCESS_BYTES = _gauge("node_process_resident_bytes", "Its memory, shared pages included.", "role")
GPU_USAGE = _gauge("gpu_utilization_ratio", "Part of the time in which it computed.", "gpu")
GPU_MEMORY_USED = _gauge("gpu_memory_used_bytes", "Memory in use on a GPU.", "gpu")
GPU_MEMORY_TOTAL = _gauge("gpu_memory_total_bytes", "Memory of a GPU.", "gpu")
GPU_TEMPERATURE = _gauge("gpu_temperature_celsius", "Temperature of a GPU.", "gpu")
GPU_POWER = _gauge("gpu_power_watts", "Power that a GPU draws.", "gpu")

_ALL = (
    CPU, CORES, LOAD, MEMORY_USED, MEMORY_TOTAL, SWAP_USED, DISK_USED, DISK_TOTAL, DISK_TRAFFIC,
    NETWORK_TRAFFIC, CONTAINER_CPU, CONTAINER_MEMORY, PROCESS_CPU, PROCESS_BYTES, GPU_USAGE,
    GPU_MEMORY_USED, GPU_MEMORY_TOTAL, GPU_TEMPERATURE, GPU_POWER,
)  # fmt: skip


_last: tuple[str, NodeReading] | None = None


def forget() -> None:
    """Another monitor tells of this machine now."""
    global _last
    _last = None


def note(node: str, reading: NodeReading) -> None:
    """Keep a reading for the next flush."""
    global _last
    _last = (node, reading)


def update() -> None:
    """A source: in the flusher's own thread, so that no flush finds half of a reading."""
    for gauge in _ALL:
        gauge.clear()
    if _last is not None:
        _set_all(*_last)


REGISTRY.add_source(update)


def _set_all(node: str, reading: NodeReading) -> None:
    """What a machine does not have, or does not tell, has no series."""
    CPU.set(reading.cpu.usage / 100, node=node)
    CORES.set(reading.cpu.count, node=node)
    LOAD.set(reading.cpu.load_1m, node=node)
    MEMORY_USED.set(reading.memory.used, node=node)
    MEMORY_TOTAL.set(reading.memory.total, node=node)
    SWAP_USED.set(reading.swap.used, node=node)
    for disk in reading.disks:
        DISK_USED.set(disk.used, node=node, path=disk.path)
        DISK_TOTAL.set(disk.total, node=node, path=disk.path)
    _note_traffic(node, reading)
    if reading.container is not None:
        _set(CONTAINER_CPU, _ratio(reading.container.cpu_usage), node=node)
        _set(CONTAINER_MEMORY, _ratio(reading.container.memory_usage), node=node)
    for role, used in sum_by_role(reading.processes).items():
        _set(PROCESS_CPU, _ratio(used["cpu"]), node=node, role=role)
        _set(PROCESS_BYTES, used["rss"], node=node, role=role)
    for gpu in reading.gpus:
        _note_gpu(node, gpu)


def _note_traffic(node: str, reading: NodeReading) -> None:
    disks, network = reading.disk_traffic, reading.network
    if disks is not None:
        _set(DISK_TRAFFIC, disks.read_bytes, node=node, direction="read")
        _set(DISK_TRAFFIC, disks.write_bytes, node=node, direction="write")
    if network is not None:
        _set(NETWORK_TRAFFIC, network.received_bytes, node=node, direction="receive")
        _set(NETWORK_TRAFFIC, network.sent_bytes, node=node, direction="transmit")


def _note_gpu(node: str, gpu: GpuUsage) -> None:
    labels = {"node": node, "gpu": str(gpu.index)}
    _set(GPU_USAGE, _ratio(gpu.utilization), **labels)
    _set(GPU_MEMORY_USED, gpu.memory_used, **labels)
    _set(GPU_MEMORY_TOTAL, gpu.memory_total, **labels)
    _set(GPU_TEMPERATURE, gpu.temperature, **labels)
    _set(GPU_POWER, gpu.power, **labels)


def _set(gauge: Gauge, value: float | None, **labels: str) -> None:
    if value is not None:
        gauge.set(value, **labels)


def _ratio(percent: float | None) -> float | None:
    return None if percent is None else percent / 100
