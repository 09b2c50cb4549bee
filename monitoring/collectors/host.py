"""What this machine uses now: processor, memory, disk. psutil, no Django."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from pathlib import Path

import psutil

from llamagpu.lib.memory import group_limit_bytes

# psutil counts since its last call; two calls closer than this say little.
_MIN_WINDOW = 0.1


@dataclass(frozen=True, slots=True)
class CpuUsage:
    """`usage` is percent of all cores since the last reading; loads are over 1, 5, 15 minutes."""

    usage: float
    count: int
    load_1m: float
    load_5m: float
    load_15m: float


@dataclass(frozen=True, slots=True)
class MemoryUsage:
    """Bytes; `limit` is the control group's, where it is under the machine's total."""

    total: int
    available: int
    used: int
    usage: float
    limit: int | None


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
        self._usage = 0.0

    def read(self) -> CpuUsage:
        with self._lock:
            now = time.monotonic()
            if self._read_at is None:
                self._usage = psutil.cpu_percent(interval=_MIN_WINDOW)
            elif now - self._read_at >= _MIN_WINDOW:
                self._usage = psutil.cpu_percent(interval=None)
            else:
                now = self._read_at
            self._read_at = now
            load = psutil.getloadavg()
            return CpuUsage(self._usage, psutil.cpu_count() or 1, *load)


def read_memory() -> MemoryUsage:
    memory = psutil.virtual_memory()
    limit = group_limit_bytes()
    return MemoryUsage(
        total=memory.total,
        available=memory.available,
        used=memory.used,
        usage=memory.percent,
        limit=limit if limit is not None and limit < memory.total else None,
    )


def read_disk(path: Path) -> DiskUsage:
    disk = psutil.disk_usage(str(path))
    return DiskUsage(str(path), disk.total, disk.used, disk.free, disk.percent)
