"""Engines that answer at once, with the clock that a test gives them."""

from __future__ import annotations

from collections.abc import Sequence

from inference.benchmark.engines.base import (
    Description,
    EngineUnavailableError,
    MeasuredEngine,
    RunFailedError,
    Say,
)
from inference.benchmark.figures import Trace


class FakeEngine(MeasuredEngine):
    """Every token takes `seconds`; `log` is shared by the engines of a test."""

    def __init__(
        self,
        name: str,
        log: list[str] | None = None,
        *,
        seconds: float = 0.01,
        unavailable: str = "",
        breaks_after: int | None = None,
        resident: Sequence[int] = (100,),
    ) -> None:
        self.name = name
        self.log = [] if log is None else log
        self.prompts: list[list[int]] = []
        self.is_stopped = False
        self._seconds = seconds
        self._unavailable = unavailable
        self._runs_left = breaks_after
        self._resident = list(resident)

    def prepare(self, say: Say) -> None:
        if self._unavailable:
            raise EngineUnavailableError(self._unavailable)

    def start(self, say: Say) -> Description:
        self.log.append(f"{self.name} started")
        return Description(f"{self.name} 1.0", "bf16", "in process", 2.5)

    def run(
        self, prompts: Sequence[Sequence[int]], *, new_tokens: int, concurrency: int
    ) -> list[Trace]:
        if self._runs_left == 0:
            raise RunFailedError("it broke")
        if self._runs_left is not None:
            self._runs_left -= 1
        self.log.append(f"{self.name} ran")
        self.prompts += [list(prompt) for prompt in prompts]
        arrivals = tuple((self._seconds * (1 + place), 1) for place in range(new_tokens))
        return [Trace(0.0, arrivals) for _ in prompts]

    def pause(self) -> None:
        self.log.append(f"{self.name} paused")

    def resume(self) -> None:
        self.log.append(f"{self.name} resumed")

    def resident_bytes(self) -> int:
        return self._resident.pop(0) if len(self._resident) > 1 else self._resident[0]

    def stop(self) -> None:
        self.is_stopped = True
