"""Jobs are counted once, at their end; tokens as they come."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from inference.models import InferenceJob
from inference.protocol import ErrorEvent, GenerationJob
from inference.services.settlement import settle_jobs, settlement_of
from inference.stream import JobKeys
from inference.worker.generation import JobRunner
from llamagpu.lib.error_codes import ErrorCode
from monitoring.metrics.reading import Snapshot
from tests.conftest import MODEL
from tests.inference.worker.conftest import wait_until

Runner = Callable[..., JobRunner]
Job = Callable[..., GenerationJob]
Counted = Callable[[], Snapshot]


def run(runner: JobRunner, job: GenerationJob, client: Any) -> None:
    runner.run(job)
    wait_until(lambda: client.exists(JobKeys(job.job_id).ended), "the job ends")


def count_of(snapshot: Snapshot, name: str) -> int:
    found = snapshot.histogram(name, model_name=MODEL)
    return found.count if found else 0


def test_an_answer_is_counted_with_its_tokens_and_times(
    make_runner: Runner, make_job: Job, redis_client: Any, counted: Counted
) -> None:
    run(make_runner(), make_job("say one two three"), redis_client)
    found = counted()
    assert found.counter("request_success_total", model_name=MODEL, finished_reason="stop") == 1
    assert found.counter("request_failure_total") == 0
    assert found.counter("prompt_tokens_total", model_name=MODEL) == 4  # as the engine began with
    assert found.counter("generation_tokens_total", model_name=MODEL) == 3
    assert count_of(found, "time_to_first_token_seconds") == 1
    assert count_of(found, "inter_token_latency_seconds") == 2
    for name in (
        "e2e_request_latency_seconds",
        "request_queue_time_seconds",
        "request_load_time_seconds",
        "request_inference_time_seconds",
        "request_time_per_output_token_seconds",
        "request_prompt_tokens",
    ):
        assert count_of(found, name) == 1, name
    lengths = found.histogram("request_generation_tokens")
    assert lengths is not None and lengths.total == 3
    row, latency = InferenceJob.objects.get(), found.histogram("e2e_request_latency_seconds")
    assert latency is not None and row.finished_at is not None
    assert latency.total == (row.finished_at - row.created_at).total_seconds()


def test_a_failure_is_counted_by_its_code(
    make_runner: Runner, make_job: Job, redis_client: Any, counted: Counted
) -> None:
    run(make_runner(), make_job("fail now"), redis_client)
    found = counted()
    assert found.counter("request_failure_total", model_name=MODEL, code="INFERENCE_FAILED") == 1
    assert found.counter("request_success_total") == 0
    assert count_of(found, "e2e_request_latency_seconds") == 0


def test_an_engine_that_dies_is_a_retry_and_what_it_computed_counts(
    make_runner: Runner, make_job: Job, redis_client: Any, counted: Counted, tmp_path: Path
) -> None:
    run(make_runner(), make_job(f"die once {tmp_path / 'mark'}"), redis_client)
    wait_until(lambda: InferenceJob.objects.get().attempt == 2, "the second attempt is written")
    found = counted()
    assert found.counter("job_retries_total", cause="engine_died") == 1
    assert found.counter("engine_crashes_total", model_name=MODEL) == 1
    assert found.counter("model_loads_total", model_name=MODEL, outcome="ready") == 2
    assert found.counter("request_success_total", model_name=MODEL) == 1
    assert found.counter("generation_tokens_total", model_name=MODEL) == 2  # one was lost


def test_an_end_that_is_written_twice_counts_once(make_job: Job, counted: Counted) -> None:
    job = make_job("say hi")
    end = settlement_of(job.job_id, 1, ErrorEvent(ErrorCode.CANCELLED, "left"))
    assert settle_jobs([end]) == [job.job_id]
    assert settle_jobs([end]) == []
    assert counted().counter("request_failure_total", code="CANCELLED") == 1
