from __future__ import annotations

from pathlib import Path

import psutil

from monitoring.collectors.host import CpuMeter, read_disk, read_memory


def test_the_first_reading_of_the_processor_is_measured_too() -> None:
    usage = CpuMeter().read()
    assert 0 <= usage.usage <= 100
    assert usage.count == psutil.cpu_count()


def test_memory_adds_up() -> None:
    memory = read_memory()
    assert 0 < memory.available < memory.total
    assert memory.limit is None or memory.limit < memory.total


def test_the_disk_is_the_one_that_holds_the_path(tmp_path: Path) -> None:
    disk = read_disk(tmp_path)
    assert disk.total == psutil.disk_usage(str(tmp_path)).total
