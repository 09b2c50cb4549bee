"""How much memory there is and how much this process holds, from Linux's own files (no torch)."""

from __future__ import annotations

import os
from pathlib import Path

_CGROUP_V2 = Path("/sys/fs/cgroup")
_CGROUP_V1 = Path("/sys/fs/cgroup/memory")


def available_bytes() -> int | None:
    """Host memory that this process may still take: the host's and the cgroup's, the smaller.

    A container's limit is the cgroup's, however large the host. None where neither can be read.
    """
    candidates = [value for value in (_host_available(), _cgroup_available()) if value is not None]
    return min(candidates) if candidates else None


def resident_bytes() -> int:
    """Bytes of this process that are in memory now; 0 where the system does not tell."""
    try:
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    except (OSError, ValueError, IndexError):
        return 0
    return pages * os.sysconf("SC_PAGE_SIZE")


def _host_available() -> int | None:
    try:
        for line in Path("/proc/meminfo").read_text(encoding="ascii").splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    except (OSError, ValueError, IndexError):
        return None
    return None


def _cgroup_available() -> int | None:
    for folder, limit_name, used_name in (
        (_CGROUP_V2, "memory.max", "memory.current"),
        (_CGROUP_V1, "memory.limit_in_bytes", "memory.usage_in_bytes"),
    ):
        limit = _read_number(folder / limit_name)
        used = _read_number(folder / used_name)
        if limit is not None and used is not None:
            # Pages of files count as used but are given back under pressure.
            return max(0, limit - used + _reclaimable(folder))
    return None


def _reclaimable(folder: Path) -> int:
    try:
        lines = (folder / "memory.stat").read_text(encoding="ascii").splitlines()
    except OSError:
        return 0
    numbers = dict(line.split(maxsplit=1) for line in lines if " " in line)
    value = numbers.get("inactive_file", numbers.get("total_inactive_file", "0"))
    return int(value) if value.isdigit() else 0


def _read_number(file: Path) -> int | None:
    """The number in `file`; None where it says "max" or cannot be read."""
    try:
        return int(file.read_text(encoding="ascii"))
    except (OSError, ValueError):
        return None
