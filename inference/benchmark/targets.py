"""The speeds that this project's engine is to reach, beside its peers and by itself."""

from __future__ import annotations

import enum
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from inference.benchmark.figures import Spread


class Verdict(enum.StrEnum):
    """How a target fared. Without a figure there is no verdict but this one: not measured."""

    MET = "met"
    MISSED = "missed"
    NOT_MEASURED = "not measured"


@dataclass(frozen=True, slots=True)
class RatioTarget:
    """In one run on the same cores, ours is at least `factor` times as fast as the peer."""

    workload: str
    peer: str
    factor: float


@dataclass(frozen=True, slots=True)
class FigureTarget:
    """A figure of ours on the machine of docs/performance.md; `limit` is the worst that will do."""

    figure: str
    limit: float
    unit: str
    is_ceiling: bool = False


@dataclass(frozen=True, slots=True)
class Judged:
    """A target and what was measured for it."""

    target: RatioTarget | FigureTarget
    measured: Spread | None
    verdict: Verdict


RATIO_TARGETS = (
    RatioTarget("C=1", "openvino", 1.6),
    RatioTarget("C=1", "llama.cpp", 2.2),
    RatioTarget("C=8", "openvino", 1.15),
    RatioTarget("C=8", "vllm", 4.0),
    RatioTarget("C=8", "llama.cpp", 4.0),
    RatioTarget("C=32", "openvino", 1.15),
    RatioTarget("C=32", "vllm", 4.0),
    RatioTarget("C=32", "llama.cpp", 4.0),
    RatioTarget("prefill 512", "llama.cpp", 8.0),
)
FIGURE_TARGETS = (
    FigureTarget("C=1", 150.0, "tok/s"),
    FigureTarget("C=8", 410.0, "tok/s"),
    FigureTarget("C=32", 620.0, "tok/s"),
    FigureTarget("prefill 512", 2800.0, "tok/s"),
    FigureTarget("TTFT C=1", 45.0, "ms", is_ceiling=True),
    FigureTarget("load time", 6.0, "s", is_ceiling=True),
    FigureTarget("resident memory", 1200.0, "MB", is_ceiling=True),
    FigureTarget("memory growth", 50.0, "MB", is_ceiling=True),
)


def judge_ratios(ratios: Mapping[tuple[str, str], Spread]) -> list[Judged]:
    """`ratios` maps (workload, peer) to ours / peer; the median decides."""
    return [
        _judge(target, ratios.get((target.workload, target.peer)), target.factor)
        for target in RATIO_TARGETS
    ]


def judge_figures(figures: Mapping[str, Spread]) -> list[Judged]:
    """`figures` maps a figure's name to what was measured, in the target's unit."""
    return [
        _judge(target, figures.get(target.figure), target.limit, is_ceiling=target.is_ceiling)
        for target in FIGURE_TARGETS
    ]


def count_missed(judged: Sequence[Judged]) -> int:
    """Targets that were measured and not reached."""
    return sum(one.verdict is Verdict.MISSED for one in judged)


def _judge(
    target: RatioTarget | FigureTarget,
    measured: Spread | None,
    limit: float,
    *,
    is_ceiling: bool = False,
) -> Judged:
    if measured is None:
        return Judged(target, None, Verdict.NOT_MEASURED)
    is_met = measured.median <= limit if is_ceiling else measured.median >= limit
    return Judged(target, measured, Verdict.MET if is_met else Verdict.MISSED)
