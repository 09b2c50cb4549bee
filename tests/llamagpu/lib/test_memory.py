"""Memory as Linux tells it, on made-up trees of /proc and /sys."""

from __future__ import annotations

from pathlib import Path

import pytest

from llamagpu.lib.env import Env, EnvError
from llamagpu.lib.memory import (
    MemoryLimit,
    available_bytes,
    format_gib,
    group_limit_bytes,
    resident_bytes,
    total_bytes,
)

KIB = 1024


def machine(root: Path, *, cgroup: str = "0::/", total: int = 1000, available: int = 900) -> Path:
    """Sizes in KiB."""
    (root / "proc/self").mkdir(parents=True)
    (root / "proc/meminfo").write_text(f"MemTotal: {total} kB\nMemAvailable: {available} kB\n")
    (root / "proc/self/cgroup").write_text(cgroup)
    return root


def group_v2(folder: Path, limit: int | str, used: int, inactive: int = 0) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "memory.max").write_text(f"{limit * KIB if isinstance(limit, int) else limit}\n")
    (folder / "memory.current").write_text(f"{used * KIB}\n")
    (folder / "memory.stat").write_text(f"anon 1\ninactive_file {inactive * KIB}\n")


def group_v1(folder: Path, limit: int, used: int, inactive: int = 0) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "memory.limit_in_bytes").write_text(f"{limit * KIB}\n")
    (folder / "memory.usage_in_bytes").write_text(f"{used * KIB}\n")
    stat = f"inactive_file 0\ntotal_inactive_file {inactive * KIB}\n"
    (folder / "memory.stat").write_text(stat)


def test_without_groups_the_host_decides(tmp_path: Path) -> None:
    root = machine(tmp_path)
    assert (total_bytes(root), available_bytes(root)) == (1000 * KIB, 900 * KIB)
    assert group_limit_bytes(root) is None


def test_every_group_above_bounds_a_process(tmp_path: Path) -> None:
    root = machine(tmp_path, cgroup="0::/slice/service/part\n")
    base = root / "sys/fs/cgroup"
    group_v2(base / "slice/service/part", "max", 10)
    group_v2(base / "slice/service", 600, 100)
    group_v2(base / "slice", 500, 400, inactive=50)
    assert (total_bytes(root), available_bytes(root)) == (500 * KIB, 150 * KIB)


def test_a_container_that_sees_only_its_own_group(tmp_path: Path) -> None:
    root = machine(tmp_path, cgroup="0::/docker/0123abcd\n")
    group_v2(root / "sys/fs/cgroup", 300, 100)
    assert (group_limit_bytes(root), available_bytes(root)) == (300 * KIB, 200 * KIB)


def test_version_one_is_walked_too(tmp_path: Path) -> None:
    cgroup = "9:name=systemd:/\n4:cpu,memory:/outer/inner\n1:cpu:/\n0::/\n"
    root = machine(tmp_path, cgroup=cgroup)
    base = root / "sys/fs/cgroup/memory"
    group_v1(base / "outer/inner", 400, 350, inactive=20)
    group_v1(base / "outer", 450, 100)
    group_v1(base, 9223372036854771712 // KIB, 700)
    assert (total_bytes(root), available_bytes(root)) == (400 * KIB, 70 * KIB)


def test_a_machine_that_tells_nothing(tmp_path: Path) -> None:
    assert (total_bytes(tmp_path), available_bytes(tmp_path)) == (None, None)


def test_this_machine_is_plausible() -> None:
    total, free = total_bytes(), available_bytes()
    assert total is not None
    assert free is not None
    assert 10_000_000 < resident_bytes() < total
    assert 0 < free <= total


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("80%", 800),
        ("12.5 %", 125),
        ("2KiB", 2048),
        ("1.5k", 1500),
        ("12GiB", 12 * 1024**3),
        ("3gb", 3 * 10**9),
        ("4096", 4096),
    ],
)
def test_a_limit_is_a_share_or_a_size(text: str, expected: int) -> None:
    assert MemoryLimit.parse(text).resolve(1000) == expected


def test_a_share_of_the_unknown_is_unknown() -> None:
    assert MemoryLimit.parse("80%").resolve(None) is None
    assert MemoryLimit.parse("1MiB").resolve(None) == 1024**2


@pytest.mark.parametrize("text", ["", "0%", "101%", "lots", "-1", "0", "1e9", "5i", "10 QiB", "%"])
def test_a_limit_that_makes_no_sense_is_refused_by_name(text: str) -> None:
    with pytest.raises(ValueError, match=r"must be"):
        MemoryLimit.parse(text)
    if text:
        with pytest.raises(EnvError, match="LLAMA_MAX_MEMORY"):
            Env({"LLAMA_MAX_MEMORY": text}).memory("LLAMA_MAX_MEMORY", "80%")


def test_sizes_for_people() -> None:
    assert (format_gib(6.14 * 1024**3), format_gib(0.256 * 1024**3)) == ("6.1", "0.26")
