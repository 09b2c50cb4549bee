"""What this process's control group may use and uses: processor and memory. No Django.

Version 2 (one hierarchy) and version 1 (one for each resource). A group is bound by every group above
it, so the tightest one counts. Memory is found by `llamagpu.lib.memory`, which the engine uses too.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from llamagpu.lib.memory import limiting_group
from monitoring.collectors.rates import RateMeter

_ROOT = Path("/")
# Groups come and go with the process; their limits change seldom.
_FIND_EVERY = 60.0


@dataclass(frozen=True, slots=True)
class ContainerUsage:
    """`cpu_limit` in cores, `cpu_usage` percent of it, `cpu_throttled` the seconds in which it was held
    back, a second. Bytes of memory without what would be given back under pressure. None: no limit."""

    cpu_limit: float | None
    cpu_usage: float | None
    cpu_throttled: float | None
    memory_limit: int | None
    memory_used: int | None
    memory_usage: float | None


@dataclass(frozen=True, slots=True)
class _CpuGroup:
    """A group with a limit, and the files that say what it has used."""

    limit: float
    folder: Path
    usage_folder: Path
    version: int


class ContainerMeter:
    """Measures between readings. `root` stands for the file system's root in tests."""

    def __init__(self, root: Path = _ROOT, clock: Callable[[], float] = time.monotonic) -> None:
        self._root = root
        self._clock = clock
        self._rates = RateMeter(clock)
        self._cpu: _CpuGroup | None = None
        self._has_memory_limit = False
        self._found_at = float("-inf")

    def read(self) -> ContainerUsage | None:
        """None where no control group limits us."""
        if self._clock() - self._found_at >= _FIND_EVERY:
            self._found_at = self._clock()
            self._cpu = min(_cpu_groups(self._root), key=lambda group: group.limit, default=None)
            self._has_memory_limit = limiting_group(self._root) is not None
        cpu = self._cpu
        memory = limiting_group(self._root) if self._has_memory_limit else None
        if cpu is None and memory is None:
            return None
        rates = self._rates.per_second(_cpu_counters(cpu) if cpu else {})
        used = max(0, memory.used - memory.reclaimable) if memory else None
        seconds = rates.get("used")
        return ContainerUsage(
            cpu_limit=cpu.limit if cpu else None,
            cpu_usage=None if cpu is None or seconds is None else 100 * seconds / cpu.limit,
            cpu_throttled=rates.get("throttled"),
            memory_limit=memory.limit if memory else None,
            memory_used=used,
            memory_usage=100 * used / memory.limit if memory and used is not None else None,
        )


def _cpu_groups(root: Path) -> Iterator[_CpuGroup]:
    """The groups with a limit, from our own up to the root."""
    base = root / "sys/fs/cgroup"
    for controllers, inside in _memberships(root):
        parts = [part for part in inside.split("/") if part not in ("", "..")]
        for length in range(len(parts), -1, -1):
            below = parts[:length]
            if not controllers:
                for mount in (base, base / "unified"):
                    folder = mount.joinpath(*below)
                    if limit := _ratio(_words(folder / "cpu.max")):
                        yield _CpuGroup(limit, folder, folder, 2)
            elif "cpu" in controllers:
                folder = _first_existing(base, ("cpu", "cpu,cpuacct")).joinpath(*below)
                quota = _words(folder / "cpu.cfs_quota_us") + _words(folder / "cpu.cfs_period_us")
                if limit := _ratio(quota):
                    counted = _first_existing(base, ("cpuacct", "cpu,cpuacct")).joinpath(*below)
                    yield _CpuGroup(limit, folder, counted, 1)


def _memberships(root: Path) -> Iterator[tuple[list[str], str]]:
    """(controllers, path inside) of each hierarchy; version 2 has no controllers."""
    try:
        lines = (root / "proc/self/cgroup").read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        lines = ["0::/", "1:cpu:/"]
    for line in lines:
        _, _, rest = line.partition(":")
        controllers, _, inside = rest.partition(":")
        yield [name for name in controllers.split(",") if name], inside


def _cpu_counters(group: _CpuGroup) -> dict[str, float]:
    """Seconds of processor time used, and of being held back, since the group was made."""
    numbers = dict(
        line.split(maxsplit=1) for line in _lines(group.folder / "cpu.stat") if " " in line
    )
    if group.version == 2:
        found = {"used": numbers.get("usage_usec"), "throttled": numbers.get("throttled_usec")}
        unit = 1e-6
    else:
        usage = _words(group.usage_folder / "cpuacct.usage")
        found = {"used": usage[0] if usage else None, "throttled": numbers.get("throttled_time")}
        unit = 1e-9
    return {name: int(text) * unit for name, text in found.items() if text and text.isdigit()}


def _ratio(words: list[str]) -> float | None:
    """Quota over period, as both versions write it; None for no limit."""
    if len(words) != 2 or not all(word.isdigit() for word in words) or words[1] == "0":
        return None
    return int(words[0]) / int(words[1]) or None


def _first_existing(base: Path, names: tuple[str, ...]) -> Path:
    return next((base / name for name in names if (base / name).is_dir()), base / names[0])


def _words(file: Path) -> list[str]:
    lines = _lines(file)
    return lines[0].split() if lines else []


def _lines(file: Path) -> list[str]:
    try:
        return file.read_text(encoding="ascii").splitlines()
    except (OSError, UnicodeDecodeError):
        return []
