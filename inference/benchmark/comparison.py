"""Ours and its peers in turns: ours, peer, ours, peer, so that noise of the machine hits all alike."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from inference.benchmark.engines.base import (
    Description,
    EngineUnavailableError,
    MeasuredEngine,
    RunFailedError,
)
from inference.benchmark.figures import Figures, IncompleteRunError, Spread, spread, summarize
from inference.benchmark.progress import Progress
from inference.benchmark.prompts import PromptSource
from inference.benchmark.workloads import Workload

# Enough for lazy set-up at this batch size, too few to cost time.
_WARM_UP_TOKENS = 8


@dataclass(slots=True)
class EngineResult:
    """What one engine showed. `missing` says why it has no figures, or not all of them."""

    name: str
    description: Description | None = None
    missing: str = ""
    resident_bytes: int = 0
    runs: dict[str, list[Figures]] = field(default_factory=dict)


@dataclass(slots=True)
class Comparison:
    """All engines' figures, and ours divided by each peer's, pair by pair of neighbouring runs."""

    workloads: tuple[Workload, ...]
    results: dict[str, EngineResult] = field(default_factory=dict)
    ratios: dict[tuple[str, str], list[float]] = field(default_factory=dict)

    @property
    def missing(self) -> dict[str, str]:
        """Engines without figures, and why."""
        return {name: result.missing for name, result in self.results.items() if result.missing}

    def ratio_spreads(self) -> dict[tuple[str, str], Spread]:
        return {key: spread(values) for key, values in self.ratios.items() if values}


def speed_of(figures: Figures) -> float:
    """The figure that a workload is judged by: how fast prompts are read, or answers written."""
    if figures.new_tokens == 1:
        return figures.prompt_tokens_per_second
    return figures.tokens_per_second


class Comparer:
    """Runs every workload on every engine. The first engine is ours: each peer runs beside it."""

    def __init__(
        self,
        engines: Sequence[MeasuredEngine],
        workloads: Sequence[Workload],
        prompts: PromptSource,
        progress: Progress,
    ) -> None:
        self._engines = tuple(engines)
        self._workloads = tuple(workloads)
        self._prompts = prompts
        self._progress = progress
        self._num_runs = 0
        self.comparison = Comparison(
            self._workloads, {engine.name: EngineResult(engine.name) for engine in engines}
        )

    def run(self, num_repetitions: int) -> Comparison:
        """Prepare, start, warm up, measure, stop. A peer that fails is noted; the rest goes on."""
        try:
            for engine in self._engines:
                self._start(engine)
            num_pairs = max(1, len(self._engines) - 1)
            self._progress.expect(num_repetitions * len(self._workloads) * num_pairs)
            for repetition in range(1, num_repetitions + 1):
                for workload in self._workloads:
                    self._take_turns(workload, f"{workload.name}, {repetition}/{num_repetitions}")
            for engine in self._engines:
                self._result(engine).resident_bytes = engine.resident_bytes()
        finally:
            for engine in self._engines:
                engine.stop()
        return self.comparison

    def _start(self, engine: MeasuredEngine) -> None:
        def say(text: str) -> None:
            self._progress.say(f"{engine.name}: {text}")

        try:
            engine.prepare(say)
            self._result(engine).description = engine.start(say)
            for workload in self._workloads:
                say(f"warming up, {workload.name}")
                self._measure(engine, workload, min(workload.new_tokens, _WARM_UP_TOKENS))
        except (EngineUnavailableError, RunFailedError, IncompleteRunError) as error:
            self._give_up(engine, str(error))
        else:
            engine.pause()

    def _take_turns(self, workload: Workload, title: str) -> None:
        ours, *peers = self._engines
        if not peers:
            self._pair(ours, None, workload, title)
        for peer in peers:
            self._pair(ours, peer, workload, title)

    def _pair(
        self, ours: MeasuredEngine, peer: MeasuredEngine | None, workload: Workload, title: str
    ) -> None:
        """Both get the same prompts, which neither has seen before."""
        key = f"run {self._num_runs}"
        self._num_runs += 1
        prompts = self._prompts.make(
            key, count=workload.num_requests, num_tokens=workload.prompt_tokens
        )
        pair = [engine for engine in (ours, peer) if engine is not None]
        speeds = [self._record(engine, workload, prompts) for engine in pair]
        shown = ", ".join(
            f"{engine.name} {speed:.0f} tok/s"
            for engine, speed in zip(pair, speeds, strict=True)
            if speed is not None
        )
        self._progress.step(f"{title}: {shown}")
        if peer is not None and speeds[0] is not None and speeds[1] is not None:
            ratio = speeds[0] / speeds[1]
            self.comparison.ratios.setdefault((workload.name, peer.name), []).append(ratio)

    def _record(
        self, engine: MeasuredEngine, workload: Workload, prompts: list[list[int]]
    ) -> float | None:
        result = self._result(engine)
        if result.missing:
            return None
        engine.resume()
        try:
            figures = _run(engine, workload, prompts, workload.new_tokens)
        except (RunFailedError, IncompleteRunError) as error:
            self._give_up(engine, f"{workload.name}: {error}")
            return None
        engine.pause()
        result.runs.setdefault(workload.name, []).append(figures)
        return speed_of(figures)

    def _measure(self, engine: MeasuredEngine, workload: Workload, new_tokens: int) -> Figures:
        key = f"{engine.name} warm-up {workload.name}"
        prompts = self._prompts.make(
            key, count=workload.num_requests, num_tokens=workload.prompt_tokens
        )
        return _run(engine, workload, prompts, new_tokens)

    def _give_up(self, engine: MeasuredEngine, reason: str) -> None:
        self._result(engine).missing = reason
        self._progress.warn(f"{engine.name}: {reason}")
        engine.stop()

    def _result(self, engine: MeasuredEngine) -> EngineResult:
        return self.comparison.results[engine.name]


def _run(
    engine: MeasuredEngine, workload: Workload, prompts: list[list[int]], new_tokens: int
) -> Figures:
    traces = engine.run(prompts, new_tokens=new_tokens, concurrency=workload.concurrency)
    return summarize(traces, prompt_tokens=workload.prompt_tokens, new_tokens=new_tokens)
