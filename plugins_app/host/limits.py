"""The walls around memory, processor, files and processes: the limits that every Unix has."""

from __future__ import annotations

import resource
from dataclasses import dataclass

# A day of one core; then a fresh process. What bounds a call is the clock of the worker.
_CPU_SECONDS = 86_400
_FILE_BYTES = 16 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Limits:
    """What one plugin may hold; bytes. `max_processes` counts threads too."""

    memory_bytes: int
    max_processes: int
    max_open_files: int


def limit(limits: Limits) -> None:
    """Holds for this process and all that it starts. Raises OSError, ValueError."""
    _set(resource.RLIMIT_AS, limits.memory_bytes)
    _set(resource.RLIMIT_CPU, _CPU_SECONDS)
    _set(resource.RLIMIT_NOFILE, limits.max_open_files)
    _set(resource.RLIMIT_FSIZE, _FILE_BYTES)
    _set(resource.RLIMIT_CORE, 0)
    _set(resource.RLIMIT_NPROC, limits.max_processes)
    _set(resource.RLIMIT_MEMLOCK, 0)
    if hasattr(resource, "RLIMIT_MSGQUEUE"):
        _set(resource.RLIMIT_MSGQUEUE, 0)


def _set(kind: int, most: int) -> None:
    _, hard = resource.getrlimit(kind)
    if hard != resource.RLIM_INFINITY:
        most = min(most, hard)
    resource.setrlimit(kind, (most, most))
