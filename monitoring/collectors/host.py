"""What this machine uses now: processor, memory, swap. psutil, no Django."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from pathlib import Path

import psutil

from llamagpu.lib.memory import group_limit_bytes

# The kernel counts in hundredths of a second: two readings closer than this say little.
_MIN_WINDOW = 0.1
_LIMIT_EVERY = 60.0
_limit: int | None = None
_limit_at = float("-inf")


@dataclass(frozen=True, slots=True)
class CpuUsage:
    """`usage` is percent of all cores since the last reading, `cores` of each; loads are over 1, 5,
    15 minutes."""

    usage: float
    count: int
    load_1m: float
    load_5m: float
    load_15m: float
    cores: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True)
class MemoryUsage:
    """Bytes; `limit` is the control group's, where it is under the machine's total."""

    total: int
    available: int
    used: int
    usage: float
    limit: int | None


@dataclass(frozen=True, slots=True)
class SwapUsage:
    """Bytes; `usage` is percent, 0 where there is no swap."""

    total: int
    used: int
    usage: float


@dataclass(frozen=True, slots=True)
class DiskUsage:
    """Bytes of the file system that holds `path`."""

    path: str
    total: int
    used: int
    free: int
    usage: float


class CpuMeter:
    """Measures processor use between readings; the first one takes a short window of its own."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._read_at: float | None = None
        self._times: list[tuple[float, float]] = []
        self._cores: tuple[float, ...] = ()

    def read(self) -> CpuUsage:
        with self._lock:
            if self._read_at is None:
                self._times, self._read_at = _busy_and_total(), time.monotonic()
                time.sleep(_MIN_WINDOW)
            if time.monotonic() - self._read_at >= _MIN_WINDOW or not self._cores:
                before, self._times = self._times, _busy_and_total()
                self._read_at = time.monotonic()
                # The number of cores can change under a virtual machine.
                self._cores = tuple(
                    _share(then, now) for then, now in zip(before, self._times, strict=False)
                )
            cores = self._cores
        usage = round(sum(cores) / len(cores), 1) if cores else 0.0
        one, five, fifteen = (round(value, 2) for value in psutil.getloadavg())
        return CpuUsage(usage, psutil.cpu_count() or 1, one, five, fifteen, cores)


def read_memory() -> MemoryUsage:
    memory, limit = psutil.virtual_memory(), _group_limit()
    return MemoryUsage(
        total=memory.total,
        available=memory.available,
        used=memory.used,
        usage=memory.percent,
        limit=limit if limit is not None and limit < memory.total else None,
    )


def _group_limit() -> int | None:
    """Asked once a minute: a limit changes seldom, and finding it walks through all groups."""
    global _limit, _limit_at
    if time.monotonic() - _limit_at >= _LIMIT_EVERY:
        _limit, _limit_at = group_limit_bytes(), time.monotonic()
    return _limit


def read_swap() -> SwapUsage:
    swap = psutil.swap_memory()
    return SwapUsage(swap.total, swap.used, swap.percent)


def read_disk(path: Path) -> DiskUsage:
    disk = psutil.disk_usage(str(path))
    return DiskUsage(str(path), disk.total, disk.used, disk.free, disk.percent)


def _busy_and_total() -> list[tuple[float, float]]:
    """Seconds since the start, for each core."""
    found = []
    for core in psutil.cpu_times(percpu=True):
        # What guests use stands in `user` and `nice` already.
        total = sum(core) - getattr(core, "guest", 0.0) - getattr(core, "guest_nice", 0.0)
        found.append((total - core.idle - getattr(core, "iowait", 0.0), total))
    return found


def _share(before: tuple[float, float], after: tuple[float, float]) -> float:
    busy, total = after[0] - before[0], after[1] - before[1]
    return round(min(100.0, max(0.0, 100 * busy / total)), 1) if total > 0 else 0.0
