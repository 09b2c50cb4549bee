from __future__ import annotations

from inference.benchmark.figures import Spread
from inference.benchmark.targets import (
    FIGURE_TARGETS,
    RATIO_TARGETS,
    Judged,
    Verdict,
    count_missed,
    judge_figures,
    judge_ratios,
)


def at(value: float) -> Spread:
    return Spread(value, value, value, 1)


def verdicts(judged: list[Judged]) -> dict[str, Verdict]:
    return {
        getattr(one.target, "figure", "") or f"{one.target.workload} {one.target.peer}": one.verdict  # type: ignore[union-attr]
        for one in judged
    }


def test_the_median_ratio_decides() -> None:
    found = verdicts(
        judge_ratios(
            {("C=1", "openvino"): Spread(1.6, 1.0, 2.0, 3), ("C=8", "vllm"): Spread(3.9, 3, 9, 3)}
        )
    )
    assert found["C=1 openvino"] is Verdict.MET
    assert found["C=8 vllm"] is Verdict.MISSED


def test_what_was_not_measured_is_neither_met_nor_missed() -> None:
    judged = [*judge_ratios({}), *judge_figures({})]
    assert {one.verdict for one in judged} == {Verdict.NOT_MEASURED}
    assert count_missed(judged) == 0
    assert len(judged) == len(RATIO_TARGETS) + len(FIGURE_TARGETS)


def test_a_ceiling_is_met_below_and_a_floor_above() -> None:
    found = judge_figures(
        {"TTFT C=1": at(44.0), "load time": at(6.1), "C=8": at(411.0), "C=32": at(619.0)}
    )
    by_name = verdicts(found)
    assert by_name["TTFT C=1"] is Verdict.MET
    assert by_name["load time"] is Verdict.MISSED
    assert by_name["C=8"] is Verdict.MET
    assert by_name["C=32"] is Verdict.MISSED
    assert count_missed(found) == 2
