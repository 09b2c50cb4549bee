"""The words between the gate and the child processes that measure for it: files of msgpack."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import msgspec

from inference.engine.quality.comparison import QualityResult


@dataclass(frozen=True, slots=True)
class Subject:
    """What is measured: a model folder and how it is loaded. `level` None is the default level."""

    model: str
    level: int | None = None
    dtype: str = "auto"
    backend: str = "auto"
    num_threads: int | None = None

    @property
    def title(self) -> str:
        """Short words for a person, as `level 2` or `default float32`."""
        level = "default" if self.level is None else f"level {self.level}"
        return level if self.dtype == "auto" else f"{level} {self.dtype}"


@dataclass(frozen=True, slots=True)
class Task:
    """A subject, the tokens to measure it by, and whether all are computed as a prompt is."""

    subject: Subject
    windows: list[list[int]]
    as_prompt: bool = False


@dataclass(frozen=True, slots=True)
class Outcome:
    """A measurement with its seconds; or, with no result, the reason as one line."""

    result: QualityResult | None = None
    error: str = ""
    load_seconds: float = 0.0
    measure_seconds: float = 0.0


def write_task(path: Path, task: Task) -> None:
    path.write_bytes(msgspec.msgpack.encode(task))


def read_task(path: Path) -> Task:
    """Raises OSError, or msgspec.DecodeError where the file holds no task."""
    return msgspec.msgpack.decode(path.read_bytes(), type=Task)


def write_outcome(path: Path, outcome: Outcome) -> None:
    path.write_bytes(msgspec.msgpack.encode(outcome))


def read_outcome(path: Path) -> Outcome:
    """Raises OSError, or msgspec.DecodeError where the file holds no outcome."""
    return msgspec.msgpack.decode(path.read_bytes(), type=Outcome)
