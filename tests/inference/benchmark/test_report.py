from __future__ import annotations

import io
import json

from inference.benchmark.comparison import Comparer
from inference.benchmark.machine import Machine
from inference.benchmark.performance import MemoryGrowth
from inference.benchmark.progress import Progress
from inference.benchmark.prompts import PromptSource
from inference.benchmark.report import Report
from inference.benchmark.tables import render, table
from inference.benchmark.workloads import concurrent, prefill
from tests.inference.benchmark.fakes import FakeEngine

MACHINE = Machine(
    "2026-11-24 12:00 UTC", "A processor", "avx2", (0, 1), 2**34, "Linux", "3.11", "abc", 0.1
)
SENTENCES = [list(range(start, start + 20)) for start in range(0, 4000, 20)]


def report_of(*engines: FakeEngine) -> Report:
    comparer = Comparer(
        engines,
        (concurrent(1), prefill()),
        PromptSource(SENTENCES),
        Progress(io.StringIO()),
    )
    return Report(MACHINE, "a-model", comparison=comparer.run(2))


def line_of(text: str, start: str) -> str:
    return next(line for line in text.splitlines() if line.startswith(start))


def test_a_table_lines_up() -> None:
    assert table(["engine", "n"], [["ours", "1"], ["a peer", "100"]]) == [
        "| engine |   n |",
        "| ------ | --: |",
        "| ours   |   1 |",
        "| a peer | 100 |",
    ]


def test_the_report_says_who_is_faster_and_whether_that_is_enough() -> None:
    report = report_of(
        FakeEngine("ours", seconds=0.01),
        FakeEngine("openvino", seconds=0.02),
        FakeEngine("llama.cpp", seconds=0.02),
    )
    text = render(report)
    assert "400 (400 to 400)" in line_of(text, "| ours ")
    assert line_of(text, "| C=1 / openvino").split("|")[-2].strip() == "met"
    assert line_of(text, "| C=1 / llama.cpp").split("|")[-2].strip() == "missed"
    assert "vllm" not in text  # it was not asked for
    assert report.is_complete


def test_a_missing_peer_is_in_the_table_with_its_reason() -> None:
    report = report_of(FakeEngine("ours"), FakeEngine("vllm", unavailable="no such package"))
    text = render(report)
    assert "missing" in line_of(text, "| vllm ")
    assert "MISSING vllm: no such package" in text
    assert not report.is_complete


def test_a_part_that_failed_makes_the_report_incomplete() -> None:
    report = Report(MACHINE, "a-model", failures={"memory": "the process ended"})
    assert "FAILED memory: the process ended" in render(report)
    assert not report.is_complete


def test_own_figures_are_held_against_their_targets() -> None:
    report = report_of(FakeEngine("ours", seconds=0.001))
    report.growth = MemoryGrowth(2000, 10**8, 10**8, 10**8 + 60 * 10**6)
    verdicts = {one.target.figure: one.verdict for one in report.judged_figures()}  # type: ignore[union-attr]
    assert verdicts["C=1"] == "met"
    assert verdicts["TTFT C=1"] == "met"
    assert verdicts["load time"] == "met"
    assert verdicts["memory growth"] == "missed"
    assert verdicts["C=32"] == "not measured"
    assert "growth 60.0 MB" in render(report)


def test_the_json_holds_every_run() -> None:
    report = report_of(FakeEngine("ours"), FakeEngine("openvino"))
    found = json.loads(json.dumps(report.to_json()))
    engines = {engine["name"]: engine for engine in found["comparison"]["engines"]}
    assert len(engines["openvino"]["runs"]["C=1"]) == 2
    assert engines["ours"]["speed"]["C=1"]["count"] == 2
    assert found["comparison"]["ratios"][0]["values"] == [1.0, 1.0]
    assert found["is_complete"] is True
    assert len(found["targets"]) > 10
