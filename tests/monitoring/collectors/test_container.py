"""Limits of control groups in both versions, from trees of files as the kernel shows them."""

from __future__ import annotations

from pathlib import Path

import pytest

from monitoring.collectors.container import ContainerMeter

GIB = 1024**3


def tree(root: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        file = root / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text + "\n")


@pytest.fixture
def second_version(tmp_path: Path) -> Path:
    """A container that may use one and a half cores and 4 GiB."""
    group = "sys/fs/cgroup/pod/box"
    tree(
        tmp_path,
        {
            "proc/self/cgroup": "0::/pod/box",
            f"{group}/cpu.max": "150000 100000",
            f"{group}/cpu.stat": "usage_usec 1000000\nthrottled_usec 0",
            f"{group}/memory.max": str(4 * GIB),
            f"{group}/memory.current": str(3 * GIB),
            f"{group}/memory.stat": f"inactive_file {GIB}",
            "sys/fs/cgroup/pod/cpu.max": "max 100000",
        },
    )
    return tmp_path


def test_use_is_told_as_a_share_of_the_limit(second_version: Path) -> None:
    now = [0.0]
    meter = ContainerMeter(second_version, clock=lambda: now[0])
    first = meter.read()
    assert first is not None
    assert (first.cpu_limit, first.cpu_usage) == (1.5, None)
    assert (first.memory_limit, first.memory_used, first.memory_usage) == (4 * GIB, 2 * GIB, 50.0)
    tree(
        second_version,
        {"sys/fs/cgroup/pod/box/cpu.stat": "usage_usec 4000000\nthrottled_usec 500000"},
    )
    now[0] = 2.0
    second = meter.read()
    assert second is not None
    assert second.cpu_usage == pytest.approx(100.0)
    assert second.cpu_throttled == pytest.approx(0.25)


def test_the_tightest_group_above_us_counts(second_version: Path) -> None:
    tree(second_version, {"sys/fs/cgroup/pod/cpu.max": "50000 100000"})
    usage = ContainerMeter(second_version).read()
    assert usage is not None
    assert usage.cpu_limit == 0.5


def test_the_first_version_has_files_of_its_own(tmp_path: Path) -> None:
    tree(
        tmp_path,
        {
            "proc/self/cgroup": "4:memory:/box\n2:cpu,cpuacct:/box",
            "sys/fs/cgroup/cpu,cpuacct/box/cpu.cfs_quota_us": "200000",
            "sys/fs/cgroup/cpu,cpuacct/box/cpu.cfs_period_us": "100000",
            "sys/fs/cgroup/cpu,cpuacct/box/cpuacct.usage": "1000000000",
            "sys/fs/cgroup/cpu,cpuacct/box/cpu.stat": "nr_periods 1\nthrottled_time 0",
            "sys/fs/cgroup/memory/box/memory.limit_in_bytes": str(GIB),
            "sys/fs/cgroup/memory/box/memory.usage_in_bytes": str(GIB // 2),
        },
    )
    now = [0.0]
    meter = ContainerMeter(tmp_path, clock=lambda: now[0])
    meter.read()
    tree(tmp_path, {"sys/fs/cgroup/cpu,cpuacct/box/cpuacct.usage": "2000000000"})
    now[0] = 1.0
    usage = meter.read()
    assert usage is not None
    assert (usage.cpu_limit, usage.cpu_usage, usage.memory_usage) == (2.0, 50.0, 50.0)


def test_without_a_limit_there_is_nothing_to_tell(tmp_path: Path) -> None:
    tree(tmp_path, {"proc/self/cgroup": "0::/", "sys/fs/cgroup/cpu.max": "max 100000"})
    assert ContainerMeter(tmp_path).read() is None
