"""Everything that one benchmark found, and the same as JSON."""

from __future__ import annotations

import statistics
from dataclasses import asdict, dataclass, field
from typing import Any

from inference.benchmark.comparison import Comparison, EngineResult, speed_of
from inference.benchmark.figures import Figures, Spread, spread
from inference.benchmark.machine import Machine
from inference.benchmark.performance import (
    BatchCost,
    LengthCost,
    LoadResult,
    MemoryGrowth,
    MemoryUse,
    SingleLatency,
)
from inference.benchmark.targets import Judged, judge_figures, judge_ratios

OURS = "ours"
_MB = 10**6


@dataclass(slots=True)
class Report:
    """Parts that were not asked for are None or empty; parts that failed are in `failures`."""

    machine: Machine
    model: str
    comparison: Comparison | None = None
    single: SingleLatency | None = None
    by_length: list[LengthCost] = field(default_factory=list)
    by_batch: list[BatchCost] = field(default_factory=list)
    load: LoadResult | None = None
    memory: list[MemoryUse] = field(default_factory=list)
    growth: MemoryGrowth | None = None
    failures: dict[str, str] = field(default_factory=dict)

    @property
    def is_complete(self) -> bool:
        """Whether every part and every engine that was asked for gave figures."""
        return not self.failures and not (self.comparison and self.comparison.missing)

    @property
    def has_own_figures(self) -> bool:
        """Whether nothing but a peer can be missing."""
        return not self.failures and OURS not in (
            self.comparison.missing if self.comparison else {}
        )

    def judged_ratios(self) -> list[Judged]:
        return judge_ratios(self.comparison.ratio_spreads() if self.comparison else {})

    def judged_figures(self) -> list[Judged]:
        return judge_figures(self._own_figures())

    def to_json(self) -> dict[str, Any]:
        """All of it, raw runs included, as JSON-ready values."""
        fields = asdict(self)
        if self.comparison is not None:
            fields["comparison"] = {
                "engines": [_engine_json(result) for result in self.comparison.results.values()],
                "ratios": [
                    {"workload": workload, "peer": peer, "values": values}
                    for (workload, peer), values in self.comparison.ratios.items()
                ],
            }
        if self.growth is not None:
            fields["growth"]["growth_bytes"] = self.growth.growth_bytes
        fields["targets"] = [asdict(one) for one in (*self.judged_ratios(), *self.judged_figures())]
        fields["is_complete"] = self.is_complete
        return fields

    def _own_figures(self) -> dict[str, Spread]:
        figures: dict[str, Spread] = {}
        ours = self.comparison.results.get(OURS) if self.comparison else None
        if ours is not None:
            figures = {name: speed_spread(runs) for name, runs in ours.runs.items()}
            if "C=1" in ours.runs:
                figures["TTFT C=1"] = spread(run.ttft_p50 * 1000 for run in ours.runs["C=1"])
            if ours.description is not None:
                figures["load time"] = spread([ours.description.load_time])
            if ours.resident_bytes:
                figures["resident memory"] = spread([ours.resident_bytes / _MB])
        if self.growth is not None:
            figures["memory growth"] = spread([self.growth.growth_bytes / _MB])
        return figures


def speed_spread(runs: list[Figures]) -> Spread:
    """Tokens per second over the repetitions of one workload."""
    return spread(speed_of(run) for run in runs)


def median_of(runs: list[Figures], name: str) -> float | None:
    """The median of one field over the repetitions that have it."""
    values = [value for run in runs if (value := getattr(run, name)) is not None]
    return statistics.median(values) if values else None


def _engine_json(result: EngineResult) -> dict[str, Any]:
    fields = asdict(result)
    fields["speed"] = {name: asdict(speed_spread(runs)) for name, runs in result.runs.items()}
    return fields
