"""Recorded steps without a recorder: which graph is chosen, what it is fed, what comes back."""

from __future__ import annotations

import logging
from typing import Any

import pytest
import torch

from inference.engine.paged import graphs as module
from inference.engine.paged.attention import PagedStep
from inference.engine.paged.graphs import DecodeGraphs, try_capture
from inference.engine.paged.rows import PagedRows

PAGE = 64


class Recording:
    """Replays by computing again, as a graph does over the buffers that it was recorded with."""

    def __init__(self, forward: Any, step: PagedStep) -> None:
        self.num_replays = 0
        self._forward, self._step = forward, step
        self.logits = forward(step)

    def pool(self) -> object:
        return "pool"

    def replay(self) -> None:
        self.num_replays += 1
        self.logits.copy_(self._forward(self._step))


def forward(step: PagedStep) -> torch.Tensor:
    """Logits that tell which token stood in the row, and where it looked."""
    inputs = step.inputs
    seen = inputs.lengths + 1000 * inputs.tables[:, 0]
    return torch.stack([inputs.token_ids.float(), seen.float()], dim=1)


@pytest.fixture
def recordings(monkeypatch: pytest.MonkeyPatch) -> list[Recording]:
    made: list[Recording] = []

    def record(forward: Any, step: PagedStep, pool: Any) -> tuple[Any, torch.Tensor]:
        assert pool == ("pool" if made else None), "all sizes share one pool"
        made.append(Recording(forward, step))
        return made[-1], made[-1].logits

    monkeypatch.setattr(module, "make_recorder", lambda device: record)
    return made


def decodes(*lengths: int) -> PagedRows:
    count = len(lengths)
    return PagedRows(
        token_ids=[10 + index for index in range(count)],
        positions=[length - 1 for length in lengths],
        places=[PAGE + index for index in range(count)],
        logit_rows=list(range(count)),
        counts=[1] * count,
        lengths=list(lengths),
        tables=[[1 + index] * (-(-length // PAGE)) for index, length in enumerate(lengths)],
        num_decodes=count,
        num_logits=count,
    )


def make_graphs(num_slots: int = 6, num_columns: int = 3) -> DecodeGraphs:
    graphs = DecodeGraphs(torch.device("cpu"), PAGE, num_columns)
    graphs.capture(forward, num_slots)
    return graphs


def test_the_largest_size_is_recorded_first(recordings: list[Recording]) -> None:
    done: list[float] = []
    graphs = DecodeGraphs(torch.device("cpu"), PAGE, 3)
    graphs.capture(forward, 6, done.append)
    assert graphs.sizes == (1, 2, 4, 6)
    assert [len(recording.logits) for recording in recordings] == [6, 4, 2, 1]
    assert done == [0.25, 0.5, 0.75, 1.0]


def test_a_step_replays_the_smallest_graph_that_holds_it(recordings: list[Recording]) -> None:
    graphs = make_graphs()
    logits = graphs.replay(decodes(5, 70, 9))
    assert logits is not None
    assert logits.shape == (4, 2)
    assert logits[:3, 0].tolist() == [10, 11, 12]
    assert logits[:3, 1].tolist() == [1005, 2070, 3009]
    assert logits[3].tolist() == [0, 1], "padding looks at one token of the scratch page"
    assert [recording.num_replays for recording in recordings] == [0, 1, 0, 0]


def test_what_no_graph_fits_runs_eagerly(recordings: list[Recording]) -> None:
    graphs = make_graphs()
    assert graphs.replay(decodes(*[5] * 7)) is None
    assert graphs.replay(decodes(3 * PAGE + 1)) is None
    chunk = PagedRows([1, 2], [0, 1], [64, 65], [1], [2], [2], [[1]], num_logits=1)
    assert graphs.replay(chunk) is None
    assert graphs.replay(PagedRows()) is None
    graphs.drop()
    assert graphs.replay(decodes(5)) is None


def test_a_recording_that_fails_is_one_warning(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*args: Any) -> Any:
        raise RuntimeError("operation not permitted when stream is capturing")

    monkeypatch.setattr(module, "make_recorder", lambda device: fail)
    graphs = DecodeGraphs(torch.device("cpu"), PAGE, 3)
    with caplog.at_level(logging.WARNING):
        assert not try_capture(graphs, forward, 4)
    assert len(caplog.records) == 1
    assert "run eagerly" in caplog.text
    assert graphs.sizes == ()
