"""Divides the memory that models may hold on this machine between the engines of a worker."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from inference.memory_plan import planned_bytes
from inference.model_files import ModelFilesError, read_model_files
from inference.protocol import Load
from inference.states import ModelState
from inference.worker.remote.engine import Engine, RemoteEngine


def grant(load: Load, limit: int | None, others: Iterable[Engine]) -> Load:
    """`load` with what `others` leave of `limit` bytes as the most that its process may hold.

    A limit of its own that is tighter stays.
    """
    if limit is None:
        return load
    left = max(1, limit - sum(held_bytes(process) for process in others))
    return replace(load, max_memory_bytes=min(left, load.max_memory_bytes or left))


def held_bytes(process: Engine) -> int:
    """What a process holds or may come to hold: told by itself, or planned while it loads."""
    if process.state is ModelState.FAILED or isinstance(process, RemoteEngine):
        return 0
    if process.info is None:
        return _planned(process.load)
    resident = process.stats.resident_bytes if process.stats else 0
    return max(process.info.reserved_bytes, resident)


def _planned(load: Load) -> int:
    """An upper bound; a model that cannot be read will hold nothing."""
    try:
        files = read_model_files(Path(load.model_path))
    except ModelFilesError:
        return 0
    return planned_bytes(
        files,
        num_slots=load.num_slots,
        asked_length=load.max_model_len or None,
        limit=load.max_memory_bytes or None,
    )
