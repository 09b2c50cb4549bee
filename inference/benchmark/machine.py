"""The machine that figures belong to."""

from __future__ import annotations

import datetime
import os
import platform
import subprocess
from dataclasses import dataclass
from pathlib import Path

import psutil

_ROOT = Path(__file__).resolve().parents[2]
_TOLD_FLAGS = ("avx2", "avx512f", "avx512_vnni", "avx512_bf16", "avx512_fp16", "amx_int8")


@dataclass(frozen=True, slots=True)
class Machine:
    """What a reader needs to compare figures with those of another day or machine."""

    date: str
    processor: str
    instructions: str
    cores: tuple[int, ...]
    memory_bytes: int
    system: str
    python: str
    commit: str
    load_before: float

    def as_json(self) -> dict[str, object]:
        """What small benchmarks tell of it."""
        return {
            "processor": self.processor,
            "cores": len(self.cores),
            "commit": self.commit,
            "load_before": self.load_before,
        }

    def __str__(self) -> str:
        return (
            f"{self.processor}, {len(self.cores)} cores, commit {self.commit}, "
            f"load before {self.load_before:.1f}"
        )


def limit_cores(num_cores: int) -> tuple[int, ...]:
    """Keep this process, and so every child, on the first `num_cores` of its cores; which ones.

    Raises ValueError where there are not so many.
    """
    allowed = sorted(os.sched_getaffinity(0))
    if not 1 <= num_cores <= len(allowed):
        raise ValueError(f"{num_cores} cores were asked for, 1 to {len(allowed)} can be had")
    chosen = tuple(allowed[:num_cores])
    os.sched_setaffinity(0, chosen)
    return chosen


def this_machine() -> Machine:
    """With all the cores that this process may use."""
    return describe_machine(tuple(sorted(os.sched_getaffinity(0))))


def describe_machine(cores: tuple[int, ...]) -> Machine:
    """The machine, the moment and the state of the sources."""
    cpu = _read_cpu()
    flags = set(cpu.get("flags", "").split())
    return Machine(
        date=datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M UTC"),
        processor=cpu.get("model name", platform.machine()),
        instructions=" ".join(flag for flag in _TOLD_FLAGS if flag in flags),
        cores=cores,
        memory_bytes=psutil.virtual_memory().total,
        system=platform.platform(),
        python=platform.python_version(),
        commit=_commit(),
        load_before=os.getloadavg()[0],
    )


def _read_cpu() -> dict[str, str]:
    """The first processor's lines of /proc/cpuinfo; nothing where there is none."""
    facts: dict[str, str] = {}
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return facts
    for line in text.split("\n\n", maxsplit=1)[0].splitlines():
        name, _, value = line.partition(":")
        facts[name.strip()] = value.strip()
    return facts


def _commit() -> str:
    """The commit that was measured, marked where files differ from it."""
    git = ["git", "-C", str(_ROOT), "describe", "--always", "--dirty", "--exclude", "*"]
    try:
        done = subprocess.run(git, capture_output=True, text=True, timeout=10)
    except (OSError, subprocess.SubprocessError):
        return "unknown"
    return done.stdout.strip() or "unknown"
