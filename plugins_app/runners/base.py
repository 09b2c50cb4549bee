"""One plugin that can be called, in this process or in one of its own. No Django."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from enum import StrEnum

from plugins_app.base import Context, Hook
from plugins_app.spec import PluginSpec


class FaultKind(StrEnum):
    """How a call or a start went wrong; the `kind` label of the metrics."""

    RAISED = "raised"
    TIMEOUT = "timeout"
    DIED = "died"
    GARBAGE = "garbage"
    TOO_LARGE = "too_large"
    UNAVAILABLE = "unavailable"


class PluginFaultError(Exception):
    """A call that brought nothing. The message is for operators, never for callers."""

    def __init__(self, kind: FaultKind, message: str) -> None:
        super().__init__(message)
        self.kind = kind


class PluginLoadError(Exception):
    """A plugin could not be started; the message says why and is shown to operators."""


class RunnerState(StrEnum):
    STARTING = "starting"
    READY = "ready"
    BACKING_OFF = "backing_off"
    FAILED = "failed"
    CLOSED = "closed"


@dataclass(frozen=True, slots=True)
class RunnerReport:
    """`isolation` names the walls that hold; `restarts` counts since the start of the runner."""

    state: RunnerState
    error: str = ""
    pid: int | None = None
    resident_bytes: int | None = None
    restarts: int = 0
    isolation: tuple[str, ...] = ()


class Runner(ABC):
    """Safe to use from many threads. `start` before the first call, `close` after the last."""

    def __init__(self, spec: PluginSpec) -> None:
        self.spec = spec

    @abstractmethod
    def start(self) -> None:
        """Import, make and initialize the plugin. Raises PluginLoadError."""

    @abstractmethod
    def call(self, hook: Hook, context: Context) -> Context:
        """What the plugin makes of `context`, of the same type.

        Raises PluginRefusal, and PluginFaultError within the budget's `call_timeout`.
        """

    @abstractmethod
    def close(self, timeout: float = 2.0) -> None:
        """Let the plugin clean up, then end it, whatever it does."""

    @abstractmethod
    def report(self) -> RunnerReport: ...
