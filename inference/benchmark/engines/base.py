"""The interface of everything that is measured, this project's engine and its peers alike."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from inference.benchmark.engines.process import MeasuredProcess
from inference.benchmark.figures import Trace

#: Told what is being done, for whoever waits.
Say = Callable[[str], None]
#: Prefill of the longest workload, answers and some air.
CONTEXT = 2048
MAX_CONCURRENCY = 64


class EngineUnavailableError(Exception):
    """This engine cannot be installed, prepared or started here. The message says why."""


class RunFailedError(Exception):
    """The engine stopped answering, or refused a request, during a run."""


@dataclass(frozen=True, slots=True)
class Setting:
    """What all engines of one benchmark share."""

    model_dir: Path
    cache_dir: Path
    num_threads: int
    gguf_file: Path | None = None
    engine_cache_dir: Path | None = None
    #: Backends whose fastest level was prepared, or found not to be had, in this benchmark.
    prepared: set[str] = field(default_factory=set)


@dataclass(frozen=True, slots=True)
class Description:
    """An engine that is ready: what it is, and how long it took from its start (seconds)."""

    version: str
    precision: str
    transport: str
    load_time: float
    facts: dict[str, str] = field(default_factory=dict)
    level: int | None = None


class MeasuredEngine(ABC):
    """One engine in processes of its own: `prepare`, `start`, any number of `run`, `stop`.

    Between its runs it is paused, so that idle engines take nothing from the one that is measured.
    """

    name: str
    process: MeasuredProcess | None = None

    @abstractmethod
    def prepare(self, say: Say) -> None:
        """Install what is missing. Done already, it costs nothing. Raises EngineUnavailableError."""

    @abstractmethod
    def start(self, say: Say) -> Description:
        """Start and load. Raises EngineUnavailableError."""

    @abstractmethod
    def run(
        self, prompts: Sequence[Sequence[int]], *, new_tokens: int, concurrency: int
    ) -> list[Trace]:
        """Answer all prompts, `concurrency` at a time, greedily, `new_tokens` each, no early end.

        Raises RunFailedError.
        """

    def pause(self) -> None:
        """Take the engine's processes off the cores."""
        if self.process is not None:
            self.process.pause()

    def resume(self) -> None:
        """Let them run again."""
        if self.process is not None:
            self.process.resume()

    def resident_bytes(self) -> int:
        """Memory of all its processes."""
        return self.process.resident_bytes() if self.process is not None else 0

    def stop(self) -> None:
        """End its processes. May be called in any state, and twice."""
        if self.process is not None:
            self.process.stop()
            self.process = None
