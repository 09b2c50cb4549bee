"""What is left to batches: slots that single calls do not need, as long as there is memory."""

from __future__ import annotations

from typing import Any

import pytest

from inference.batch_room import FIRST_JOBS, batch_width, model_width, most_of
from inference.presence import EngineReport, WorkerReport
from inference.states import ModelState


def engine(model: str = "m", **fields: Any) -> EngineReport:
    return EngineReport(model, fields.pop("state", ModelState.READY), num_slots=32, **fields)


def worker(*engines: EngineReport, **fields: Any) -> WorkerReport:
    return WorkerReport("w", "1", 1, "here", 0.0, 0, 8, engines=engines, **fields)


@pytest.mark.parametrize(("slots", "width"), [(1, 1), (2, 1), (3, 2), (8, 7), (32, 28), (64, 56)])
def test_a_slot_in_eight_is_kept_for_single_calls(slots: int, width: int) -> None:
    assert most_of(slots) == width


def test_single_calls_take_their_slots_from_batches_but_never_the_last() -> None:
    def width(num_others: int) -> int:
        return batch_width([engine()], num_others=num_others, num_batch_jobs=20)

    assert [width(0), width(10), width(27), width(500)] == [28, 18, 1, 1]


def test_an_engine_whose_memory_is_short_counts_with_what_it_can_run_now() -> None:
    short = engine(metrics={"max_running": 9})
    assert batch_width([short], num_others=0, num_batch_jobs=0) == 8


def test_with_a_full_cache_or_short_memory_nothing_is_added() -> None:
    full = engine(kv_cache_usage=0.97)
    assert batch_width([full], num_others=0, num_batch_jobs=5) == 5
    assert batch_width([full], num_others=0, num_batch_jobs=0) == 1
    assert batch_width([engine()], num_others=0, num_batch_jobs=5, memory_available=1000) == 5


def test_engines_that_are_not_ready_have_no_slots() -> None:
    loading = engine(state=ModelState.LOADING)
    assert batch_width([loading], num_others=0, num_batch_jobs=0) == 0
    assert batch_width([], num_others=0, num_batch_jobs=0) == 0


def test_the_engines_of_a_model_count_on_all_workers() -> None:
    workers = [worker(engine(), engine("other")), worker(engine())]
    assert model_width(workers, "m", num_others=0, num_batch_jobs=0) == 56


def test_a_model_that_is_not_loaded_gets_a_few_jobs_which_have_it_loaded() -> None:
    assert model_width([worker()], "m", num_others=50, num_batch_jobs=0) == FIRST_JOBS
    assert model_width([], "m", num_others=0, num_batch_jobs=0) == 0
