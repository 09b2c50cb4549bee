"""What engines report becomes sums that grow, however often engines come and go."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from inference.presence import EngineReport
from inference.protocol import Stats
from inference.states import ModelState
from inference.wire import to_builtins
from inference.worker.engine_figures import EngineFigures
from monitoring.metrics.reading import Snapshot

STATS = Stats(
    num_running=3,
    num_waiting=2,
    num_slots=4,
    kv_cache_usage=0.25,
    prompt_tokens_total=100,
    generation_tokens_total=50,
    requests_total=5,
    steps_total=60,
    step_time_total=2.0,
    resident_bytes=1000,
    device_memory={"cache_bytes": 500},
    prefill_steps_total=10,
    prefill_time_total=0.5,
    decode_time_total=1.5,
    cached_tokens_total=40,
    drafted_tokens_total=8,
    accepted_drafts_total=6,
    preemptions_total=1,
)


def report(stats: Stats, pid: int = 7, state: ModelState = ModelState.READY) -> EngineReport:
    return EngineReport(
        model="tiny",
        state=state,
        pid=pid,
        num_running=stats.num_running,
        num_waiting=stats.num_waiting,
        num_slots=stats.num_slots,
        resident_bytes=stats.resident_bytes,
        kv_cache_usage=stats.kv_cache_usage,
        metrics=to_builtins(stats),
    )


def test_counts_are_added_as_they_come(counted: Callable[[], Snapshot]) -> None:
    reports = [report(STATS)]
    figures = EngineFigures("w", lambda: reports, lambda: 9)
    figures.update()
    figures.update()  # nothing has happened meanwhile
    reports[:] = [report(replace(STATS, steps_total=70, cached_tokens_total=45))]
    figures.update()
    found = counted()
    assert found.counter("engine_steps_total", model_name="tiny", kind="decode") == 60
    assert found.counter("engine_steps_total", model_name="tiny", kind="prefill") == 10
    assert found.counter("engine_step_seconds_total", kind="decode") == 1.5
    assert found.counter("prefix_cache_hits_total") == 45
    assert found.counter("prefix_cache_queries_total") == 100
    assert found.counter("spec_decode_num_draft_tokens_total") == 8
    assert found.counter("spec_decode_num_accepted_tokens_total") == 6
    assert found.counter("num_preemptions_total") == 1
    assert found.gauge("num_requests_running", model_name="tiny") == 3
    assert found.gauge("num_requests_waiting", model_name="tiny") == 2
    assert found.gauge("kv_cache_usage_perc", model_name="tiny") == 0.25
    assert found.gauge("engine_device_bytes", kind="cache_bytes") == 500
    assert found.gauge("worker_active_jobs", worker="w") == 9
    assert found.gauge("workers") == 1


def test_an_engine_that_comes_back_counts_from_zero(counted: Callable[[], Snapshot]) -> None:
    reports = [report(STATS)]
    figures = EngineFigures("w", lambda: reports, lambda: 0)
    figures.update()
    reports[:] = [replace(report(replace(STATS, cached_tokens_total=5), pid=8), restarts=1)]
    figures.update()
    assert counted().counter("prefix_cache_hits_total") == 45


def test_an_engine_that_is_gone_has_no_gauges(counted: Callable[[], Snapshot]) -> None:
    reports = [report(STATS)]
    figures = EngineFigures("w", lambda: reports, lambda: 0)
    figures.update()
    reports[:] = [EngineReport("tiny", ModelState.LOADING)]
    figures.update()
    found = counted()
    assert found.gauge("num_requests_running", model_name="tiny") is None
    assert found.gauge("engines", model_name="tiny", state="loading") == 1
    reports.clear()
    figures.update()
    assert counted().gauge("engines") is None
