from __future__ import annotations

import io

import pytest

from inference.benchmark.comparison import Comparer, Comparison
from inference.benchmark.progress import Progress
from inference.benchmark.prompts import PromptSource
from inference.benchmark.workloads import Workload, concurrent, prefill
from tests.inference.benchmark.fakes import FakeEngine

SENTENCES = [list(range(start, start + 20)) for start in range(0, 2000, 20)]
SHORT = Workload("C=2", 2, 2, 10, 4)


def compare(
    *engines: FakeEngine, workloads: tuple[Workload, ...] = (SHORT,), repetitions: int = 1
) -> Comparison:
    comparer = Comparer(engines, workloads, PromptSource(SENTENCES), Progress(io.StringIO()))
    return comparer.run(repetitions)


def test_ours_runs_beside_every_peer_and_the_others_are_paused() -> None:
    log: list[str] = []
    engines = [FakeEngine(name, log) for name in ("ours", "first", "second")]
    compare(*engines)
    turns = log[log.index("second paused") + 1 :]
    assert [line for line in turns if line.endswith("ran")] == [
        "ours ran",
        "first ran",
        "ours ran",
        "second ran",
    ]
    for place, line in enumerate(turns):
        if line.endswith("ran"):
            name = line.split()[0]
            assert turns[place - 1] == f"{name} resumed"
            assert turns[place + 1] == f"{name} paused"
    assert all(engine.is_stopped for engine in engines)


def test_neighbours_get_the_same_prompts_and_nobody_gets_one_twice() -> None:
    ours, peer = FakeEngine("ours"), FakeEngine("peer")
    compare(ours, peer, repetitions=3)
    assert ours.prompts[2:] == peer.prompts[2:]  # what comes before is each one's warm-up
    assert len({tuple(prompt) for prompt in ours.prompts}) == len(ours.prompts)


def test_a_ratio_is_taken_from_each_pair() -> None:
    comparison = compare(
        FakeEngine("ours", seconds=0.01),
        FakeEngine("peer", seconds=0.04),
        workloads=(concurrent(1), prefill(32)),
        repetitions=3,
    )
    assert comparison.ratios["C=1", "peer"] == pytest.approx([4.0] * 3)
    spreads = comparison.ratio_spreads()
    assert spreads["prefill 32", "peer"].median == pytest.approx(4.0)
    assert spreads["prefill 32", "peer"].count == 3
    assert comparison.missing == {}


def test_a_peer_that_cannot_be_had_is_named_with_its_reason_and_the_rest_goes_on() -> None:
    lost, well = FakeEngine("lost", unavailable="no wheel for this system"), FakeEngine("well")
    comparison = compare(FakeEngine("ours"), lost, well)
    assert comparison.missing == {"lost": "no wheel for this system"}
    assert comparison.results["lost"].runs == {}
    assert ("C=2", "well") in comparison.ratios
    assert ("C=2", "lost") not in comparison.ratios


def test_a_peer_that_breaks_in_a_run_keeps_the_figures_that_it_has() -> None:
    peer = FakeEngine("peer", breaks_after=2)  # its warm-up and one run
    comparison = compare(FakeEngine("ours"), peer, repetitions=3)
    assert comparison.missing == {"peer": "C=2: it broke"}
    assert len(comparison.results["peer"].runs["C=2"]) == 1
    assert len(comparison.results["ours"].runs["C=2"]) == 3
    assert len(comparison.ratios["C=2", "peer"]) == 1


def test_without_peers_ours_runs_alone() -> None:
    comparison = compare(FakeEngine("ours"), repetitions=2)
    assert len(comparison.results["ours"].runs["C=2"]) == 2
    assert comparison.ratios == {}


def test_every_engine_is_stopped_when_the_run_is_cut_off() -> None:
    class Interrupted(FakeEngine):
        def run(self, *_: object, **__: object) -> list[object]:  # type: ignore[override]
            raise KeyboardInterrupt

    engines = [FakeEngine("ours"), Interrupted("peer")]
    with pytest.raises(KeyboardInterrupt):
        compare(*engines)
    assert all(engine.is_stopped for engine in engines)
