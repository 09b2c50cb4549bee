"""A machine's reading becomes gauges; what it does not have has no series."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from monitoring.collectors.gpu import GpuUsage
from monitoring.collectors.node import NodeReader, NodeReading
from monitoring.metrics.reading import Snapshot
from monitoring.monitor import node_metrics


@pytest.fixture
def reading(tmp_path: Path) -> Iterator[NodeReading]:
    yield NodeReader([tmp_path]).read()
    node_metrics.forget()
    node_metrics.update()


def test_a_reading_is_told_in_base_units(
    reading: NodeReading, tmp_path: Path, counted: Callable[[], Snapshot]
) -> None:
    gpu = GpuUsage(0, "H200", "GPU-1", 50.0, 100, 40, 61.0, None)
    node_metrics.note("n1", replace(reading, gpus=(gpu,)))
    node_metrics.update()
    found = counted()
    assert found.gauge("node_cpu_usage_ratio", node="n1") == pytest.approx(reading.cpu.usage / 100)
    assert found.gauge("node_memory_total_bytes") == reading.memory.total
    assert found.gauge("node_disk_total_bytes", path=str(tmp_path)) == reading.disks[0].total
    assert found.gauge("gpu_utilization_ratio", gpu="0") == 0.5
    assert found.gauge("gpu_memory_used_bytes", gpu="0") == 40
    assert found.gauge("gpu_power_watts") is None


def test_without_a_gpu_there_is_no_series_of_one(
    reading: NodeReading, counted: Callable[[], Snapshot]
) -> None:
    node_metrics.note("n1", replace(reading, gpus=()))
    node_metrics.update()
    assert counted().gauge("gpu_utilization_ratio") is None
    node_metrics.forget()
    node_metrics.update()
    assert counted().gauge("node_cpu_usage_ratio") is None
