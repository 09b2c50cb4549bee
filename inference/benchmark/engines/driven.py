"""A peer that is a library: a driver script inside its environment, orders and answers as JSON lines."""

from __future__ import annotations

import json
import time
from abc import abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from inference.benchmark.engines.base import (
    MAX_CONCURRENCY,
    Description,
    EngineUnavailableError,
    MeasuredEngine,
    RunFailedError,
    Say,
    Setting,
)
from inference.benchmark.engines.environment import Environment
from inference.benchmark.engines.process import MeasuredProcess
from inference.benchmark.figures import Trace

_DRIVERS = Path(__file__).resolve().parents[1] / "drivers"


class DrivenEngine(MeasuredEngine):
    """The parts of a library's adapter that do not depend on the library."""

    driver: str
    precision: str
    setting: Setting
    environment: Environment

    @abstractmethod
    def model_dir(self) -> Path:
        """The model in the form that the library reads."""

    def start(self, say: Say) -> Description:
        say("loading")
        started = time.perf_counter()
        self.process = MeasuredProcess(
            [str(self.environment.python), str(_DRIVERS / self.driver)],
            log_file=self.environment.folder / "driver.log",
            environment=self.environment.variables(),
            with_pipes=True,
        )
        order = {
            "model": str(self.model_dir()),
            "num_threads": self.setting.num_threads,
            "max_concurrency": MAX_CONCURRENCY,
        }
        try:
            facts = self._exchange(order)["ready"]
        except RunFailedError as error:
            raise EngineUnavailableError(str(error)) from error
        load_time = time.perf_counter() - started
        version, precision = self.environment.version, self.precision
        return Description(version, precision, "in process", load_time, facts)

    def run(
        self, prompts: Sequence[Sequence[int]], *, new_tokens: int, concurrency: int
    ) -> list[Trace]:
        answer = self._exchange(
            {
                "prompts": [list(prompt) for prompt in prompts],
                "new_tokens": new_tokens,
                "concurrency": concurrency,
            }
        )
        return [
            Trace(sent, tuple((when, count) for when, count in arrivals))
            for sent, arrivals in answer["traces"]
        ]

    def _exchange(self, order: dict[str, Any]) -> dict[str, Any]:
        process = self.process
        if process is None:
            raise RunFailedError("the driver was not started")
        try:
            process.stdin.write(json.dumps(order).encode() + b"\n")
            process.stdin.flush()
            line = process.stdout.readline()
        except OSError as error:
            raise RunFailedError(f"the driver ended: {process.last_words()}") from error
        if not line:
            raise RunFailedError(f"the driver ended: {process.last_words()}")
        answer: dict[str, Any] = json.loads(line)
        if "error" in answer:
            raise RunFailedError(answer["error"])
        return answer
