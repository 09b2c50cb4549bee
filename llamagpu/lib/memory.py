"""How much memory there is and how much this process holds, from Linux's own files.

A container's or service's limit is its control group's, however large the host, and a group is
bound by every group above it. /proc/self/cgroup says where this process is; from there each level
up to the root is asked, in version 2 (one hierarchy) and version 1 (one for memory).
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_ROOT = Path("/")
_UNITS = {"": 1, "b": 1, "k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12} | {
    f"{letter}i": 1024**power for power, letter in enumerate("kmgt", 1)
}
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([kmgt]?i?)b?", re.IGNORECASE)
_PERCENT = re.compile(r"(\d+(?:\.\d+)?)\s*%")
# Version 1 says "no limit" with a number near the largest that fits; no machine has so much.
_NO_LIMIT = 2**60


@dataclass(frozen=True, slots=True)
class MemoryLimit:
    """A share of the memory that there is, or a number of bytes; `text` is how it was written."""

    text: str
    percent: float | None = None
    num_bytes: int | None = None

    @classmethod
    def parse(cls, text: str) -> MemoryLimit:
        """From `80%`, `12GiB`, `500M` or plain bytes. Raises ValueError saying what is allowed."""
        if match := _PERCENT.fullmatch(text.strip()):
            percent = float(match[1])
            if not 0 < percent <= 100:
                raise ValueError("a percentage must be over 0% and at most 100%")
            return cls(text, percent=percent)
        match = _SIZE.fullmatch(text.strip())
        unit = match[2].lower() if match else "i"
        if match is None or unit not in _UNITS:
            raise ValueError("must be a percentage like 80% or a size like 12GiB")
        num_bytes = int(float(match[1]) * _UNITS[unit])
        if num_bytes < 1:
            raise ValueError("must be more than nothing")
        return cls(text, num_bytes=num_bytes)

    def resolve(self, total: int | None) -> int | None:
        """Bytes of `total` (what `total_bytes` says); None where a share of the unknown is asked."""
        if self.num_bytes is not None:
            return self.num_bytes
        return None if total is None or self.percent is None else int(total * self.percent / 100)


@dataclass(frozen=True, slots=True)
class MemoryGroup:
    """One control group: bytes that it may hold, holds, and would give back under pressure."""

    limit: int
    used: int
    reclaimable: int


def total_bytes(root: Path = _ROOT) -> int | None:
    """Memory that this process could have at most: the host's or the tightest group's limit."""
    limits = [group.limit for group in _groups(root)]
    host = _host_field(root, "MemTotal:")
    return min([*limits, host]) if host is not None else min(limits, default=None)


def available_bytes(root: Path = _ROOT) -> int | None:
    """Memory that this process may still take: of the host and of each group, the smallest.

    None where neither can be read.
    """
    # Pages of files count as used but are given back under pressure.
    rests = [max(0, group.limit - group.used + group.reclaimable) for group in _groups(root)]
    host = _host_field(root, "MemAvailable:")
    return min([*rests, host]) if host is not None else min(rests, default=None)


def group_limit_bytes(root: Path = _ROOT) -> int | None:
    """The tightest limit of this process's control groups; None where there is none."""
    return min((group.limit for group in _groups(root)), default=None)


def limiting_group(root: Path = _ROOT) -> MemoryGroup | None:
    """The group of this process that has the least room left; None where there is no limit."""
    return min(
        _groups(root), key=lambda group: group.limit - group.used + group.reclaimable, default=None
    )


def resident_bytes() -> int:
    """Bytes of this process that are in memory now; 0 where the system does not tell."""
    try:
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    except (OSError, ValueError, IndexError):
        return 0
    return pages * os.sysconf("SC_PAGE_SIZE")


def format_gib(num_bytes: float) -> str:
    """Gibibytes with one digit, two below one GiB: what people compare."""
    gib = num_bytes / 1024**3
    return f"{gib:.2f}" if gib < 1 else f"{gib:.1f}"


def _host_field(root: Path, name: str) -> int | None:
    try:
        for line in (root / "proc/meminfo").read_text(encoding="ascii").splitlines():
            if line.startswith(name):
                return int(line.split()[1]) * 1024
    except (OSError, ValueError, IndexError):
        return None
    return None


def _groups(root: Path) -> Iterator[MemoryGroup]:
    """The limited groups of this process, from its own up to the root."""
    for mount, inside, names in _hierarchies(root):
        # Inside a container the path may be the host's: levels that are not visible are skipped.
        parts = [part for part in inside.split("/") if part not in ("", "..")]
        for length in range(len(parts), -1, -1):
            folder = mount.joinpath(*parts[:length])
            limit = _read_number(folder / names[0])
            used = _read_number(folder / names[1])
            if limit is not None and used is not None and limit < _NO_LIMIT:
                yield MemoryGroup(limit, used, _reclaimable(folder))


def _hierarchies(root: Path) -> Iterator[tuple[Path, str, tuple[str, str]]]:
    """(mount point, this process's path inside, names of limit and use) of each hierarchy."""
    try:
        lines = (root / "proc/self/cgroup").read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        lines = ["0::/", "1:memory:/"]
    base = root / "sys/fs/cgroup"
    for line in lines:
        _, _, rest = line.partition(":")
        controllers, _, inside = rest.partition(":")
        if not controllers:
            for mount in (base, base / "unified"):
                yield mount, inside, ("memory.max", "memory.current")
        elif "memory" in controllers.split(","):
            yield base / "memory", inside, ("memory.limit_in_bytes", "memory.usage_in_bytes")


def _reclaimable(folder: Path) -> int:
    try:
        lines = (folder / "memory.stat").read_text(encoding="ascii").splitlines()
    except OSError:
        return 0
    numbers = dict(line.split(maxsplit=1) for line in lines if " " in line)
    # Version 1 counts the groups below only in the totals.
    value = numbers.get("total_inactive_file", numbers.get("inactive_file", "0"))
    return int(value) if value.isdigit() else 0


def _read_number(file: Path) -> int | None:
    """The number in `file`; None where it says "max" or cannot be read."""
    try:
        return int(file.read_text(encoding="ascii"))
    except (OSError, ValueError):
        return None
