"""The loop's promises: one terminal event each, whatever happens; failures stay where they are."""

from __future__ import annotations

import json
import shutil
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from inference.engine.errors import DeviceLost
from inference.engine.step_plan import StepPlan
from inference.protocol import ChatMessage, Delta, Failed, FinishReason, Prompt, Started
from llamagpu.lib.error_codes import ErrorCode
from tests.inference.engine.harness import Harness, running_engine
from tests.inference.engine.tiny_models import EOS, FIRST_CHARACTER

PROMPT = [1, 2, 3, 4, 5]


def fail_code(harness: Harness, request_id: str) -> ErrorCode:
    """The code of a failed request, after which no event follows."""
    outcome = harness.outcome(request_id)
    assert isinstance(outcome, Failed), outcome
    harness.ask(PROMPT, max_tokens=1)
    assert harness.num_left(request_id) == 0
    return outcome.code


def break_infer(
    harness: Harness, monkeypatch: pytest.MonkeyPatch, hook: Callable[[StepPlan], None]
) -> None:
    """Let `hook` run (and raise) before each step's forward pass."""
    backend = harness.running.backend
    infer = backend.infer

    def broken(plan: StepPlan) -> torch.Tensor:
        hook(plan)
        return infer(plan)

    monkeypatch.setattr(backend, "infer", broken)


def test_usage_and_timings_are_told(engine: Harness) -> None:
    finished = engine.ask(PROMPT, max_tokens=7)
    assert (finished.usage.prompt_tokens, finished.usage.completion_tokens) == (5, 7)
    assert finished.finish_reason is FinishReason.LENGTH
    assert 0 <= finished.timings.queue_time <= finished.timings.ttft
    assert finished.timings.ttft <= finished.timings.queue_time + finished.timings.inference_time


def test_started_tells_the_prompt_tokens(engine: Harness) -> None:
    request_id = engine.send(PROMPT, max_tokens=1)
    assert engine.wait_for(request_id, Started).prompt_tokens == 5
    engine.finish(request_id)


@pytest.fixture
def ending_model(tiny_model: Path, tmp_path: Path) -> tuple[Path, str]:
    """The tiny model with the 21st token of its greedy answer for an end token, and the answer."""
    with running_engine(tiny_model) as engine:
        text = engine.ask(PROMPT, max_tokens=40).text
    end = text[20]
    folder = Path(shutil.copytree(tiny_model, tmp_path / "ending"))
    token_id = ord(end) - FIRST_CHARACTER
    (folder / "generation_config.json").write_text(json.dumps({"eos_token_id": [EOS, token_id]}))
    return folder, text[: text.index(end)]


def test_the_end_token_ends_the_text_and_is_not_in_it(ending_model: tuple[Path, str]) -> None:
    path, expected = ending_model
    with running_engine(path) as engine:
        finished = engine.ask(PROMPT, max_tokens=40, ignore_eos=False)
        ignored = engine.ask(PROMPT, max_tokens=40)
    assert finished.finish_reason is FinishReason.STOP
    assert finished.text == expected
    assert finished.usage.completion_tokens == len(expected) + 1
    assert ignored.finish_reason is FinishReason.LENGTH
    assert ignored.text.startswith(expected)


def test_min_tokens_holds_the_end_off(ending_model: tuple[Path, str]) -> None:
    path, expected = ending_model
    with running_engine(path) as engine:
        finished = engine.ask(PROMPT, max_tokens=40, min_tokens=30, ignore_eos=False)
    assert finished.usage.completion_tokens >= 30
    assert finished.text.startswith(expected)


def test_a_stop_string_ends_the_text_before_itself(engine: Harness) -> None:
    whole = engine.ask(PROMPT, max_tokens=30).text
    stop = whole[10:13]
    finished = engine.ask(PROMPT, max_tokens=30, stop=(stop, "never"))
    assert finished.finish_reason is FinishReason.STOP
    assert finished.text == whole[: whole.index(stop)]


def test_logprobs_describe_every_token(engine: Harness) -> None:
    finished = engine.ask(PROMPT, max_tokens=5, logprobs=3)
    assert finished.logprobs is not None
    assert "".join(entry.token for entry in finished.logprobs) == finished.text
    for entry in finished.logprobs:
        assert len(entry.top) == 3
        assert entry.top[0] == (entry.token, pytest.approx(entry.logprob))
        assert entry.top[0][1] >= entry.top[1][1] >= entry.top[2][1]


def test_a_cancelled_waiting_request_ends_and_the_others_go_on(tiny_model: Path) -> None:
    with running_engine(tiny_model, num_slots=1) as engine:
        running = engine.send(PROMPT, max_tokens=300)
        engine.wait_for(running, Delta)
        waiting = engine.send(PROMPT, max_tokens=3)
        engine.engine.cancel(waiting)
        assert isinstance(engine.outcome(waiting), Failed)
        assert engine.finish(running).usage.completion_tokens == 300


def test_a_request_cancelled_in_prefill_frees_its_slot(
    tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with running_engine(tiny_model, num_slots=1, prefill_budget=64) as engine:
        request_id = ""

        def cancel_in_second_chunk(plan: StepPlan) -> None:
            if plan.chunks and plan.chunks[0].start == 64:
                engine.engine.cancel(request_id)

        break_infer(engine, monkeypatch, cancel_in_second_chunk)
        request_id = engine.send(list(range(256)), max_tokens=5)
        assert fail_code(engine, request_id) is ErrorCode.CANCELLED


def test_a_request_cancelled_in_decode_frees_its_slot(tiny_model: Path) -> None:
    with running_engine(tiny_model, num_slots=1) as engine:
        request_id = engine.send(PROMPT, max_tokens=500)
        engine.wait_for(request_id, Delta)
        engine.engine.cancel(request_id)
        assert fail_code(engine, request_id) is ErrorCode.CANCELLED


def test_cancelling_what_has_ended_or_never_was_does_nothing(engine: Harness) -> None:
    request_id = engine.send(PROMPT, max_tokens=1)
    engine.finish(request_id)
    engine.engine.cancel(request_id)
    engine.engine.cancel("unknown")
    engine.ask(PROMPT, max_tokens=1)
    assert engine.num_left(request_id) == 0


def test_a_deadline_ends_a_waiting_and_a_running_request(
    tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with running_engine(tiny_model, num_slots=1) as engine:
        break_infer(engine, monkeypatch, lambda plan: time.sleep(0.01))
        running = engine.send(PROMPT, max_tokens=500, timeout=0.5)
        waiting = engine.send(PROMPT, max_tokens=5, timeout=0.2)
        assert fail_code(engine, waiting) is ErrorCode.DEADLINE_EXCEEDED
        assert fail_code(engine, running) is ErrorCode.DEADLINE_EXCEEDED


def test_a_full_queue_refuses_at_once(tiny_model: Path) -> None:
    with running_engine(tiny_model, num_slots=1, max_waiting=2) as engine:
        running = engine.send(PROMPT, max_tokens=400)
        engine.wait_for(running, Delta)
        queued = [engine.send(PROMPT, max_tokens=1) for _ in range(2)]
        refused = engine.send(PROMPT, max_tokens=1)
        outcome = engine.outcome(refused)
        assert isinstance(outcome, Failed)
        assert outcome.code is ErrorCode.QUEUE_FULL
        for request_id in (running, *queued):
            engine.finish(request_id)


def test_the_higher_priority_goes_first(tiny_model: Path) -> None:
    started: list[str] = []
    with running_engine(tiny_model, num_slots=1) as engine:
        running = engine.send(PROMPT, max_tokens=200)
        engine.wait_for(running, Delta)
        engine.on_event = lambda event: (
            started.append(event.request_id) if isinstance(event, Started) else None
        )
        low = engine.send(PROMPT, max_tokens=1, priority=-1)
        first = engine.send(PROMPT, max_tokens=1)
        second = engine.send(PROMPT, max_tokens=1)
        high = engine.send(PROMPT, max_tokens=1, priority=5)
        for request_id in (running, low, first, second, high):
            engine.finish(request_id)
    assert started == [high, first, second, low]


REFUSALS: list[tuple[Any, dict[str, Any], ErrorCode]] = [
    ([1] * 512, {"max_tokens": 1}, ErrorCode.CONTEXT_LENGTH_EXCEEDED),
    ([1] * 500, {"max_tokens": 13}, ErrorCode.CONTEXT_LENGTH_EXCEEDED),
    ([264], {}, ErrorCode.INVALID_INPUT),
    ([-1], {}, ErrorCode.INVALID_INPUT),
    ([], {}, ErrorCode.INVALID_INPUT),
    (Prompt(), {}, ErrorCode.INVALID_INPUT),
    (Prompt(messages=(ChatMessage("user", "hi"),)), {}, ErrorCode.INVALID_INPUT),
    ([1], {"temperature": float("nan")}, ErrorCode.INVALID_INPUT),
    ([1], {"seed": 2**64}, ErrorCode.INVALID_INPUT),
    ([1], {"timeout": 0.0}, ErrorCode.INVALID_INPUT),
]


@pytest.mark.parametrize(("prompt", "params", "code"), REFUSALS)
def test_what_cannot_be_served_is_refused(
    prompt: Any, params: dict[str, Any], code: ErrorCode, engine: Harness
) -> None:
    assert fail_code(engine, engine.send(prompt, **params)) is code


def test_prompt_and_answer_may_fill_the_context_to_the_last_token(engine: Harness) -> None:
    assert engine.ask([1] * 500, max_tokens=12).usage.completion_tokens == 12


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (RuntimeError("something else"), ErrorCode.INFERENCE_FAILED),
        (IndexError("a bug"), ErrorCode.INFERENCE_FAILED),
    ],
)
def test_a_failed_step_fails_its_requests_and_the_engine_goes_on(
    error: Exception, code: ErrorCode, tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with running_engine(tiny_model, num_slots=2) as engine:
        expected = engine.ask(PROMPT, max_tokens=20).text
        errors = [error]

        def fail_once(plan: StepPlan) -> None:
            if len(plan.decodes) == 2 and errors:
                raise errors.pop()

        break_infer(engine, monkeypatch, fail_once)
        pair = [engine.send(PROMPT, max_tokens=100) for _ in range(2)]
        behind = engine.send(PROMPT, max_tokens=20)
        assert [fail_code(engine, request_id) for request_id in pair] == [code, code]
        assert engine.finish(behind).text == expected


def test_a_row_that_is_not_finite_fails_alone_and_leaves_a_clean_slot(
    tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with running_engine(tiny_model, num_slots=2) as engine:
        expected = engine.ask(PROMPT, max_tokens=20).text
        cache = engine.running.backend._runner.cache  # type: ignore[attr-defined]

        def poison(plan: StepPlan) -> None:
            if len(plan.decodes) == 2:
                victim = plan.decodes[0]
                cache.keys[0][victim.slot, :, : victim.num_computed] = torch.nan

        break_infer(engine, monkeypatch, poison)
        pair = [engine.send(PROMPT, max_tokens=20) for _ in range(2)]
        outcomes = [engine.outcome(request_id) for request_id in pair]
        assert isinstance(outcomes[0], Failed)
        assert outcomes[0].code is ErrorCode.INFERENCE_FAILED
        assert not isinstance(outcomes[1], Failed)
        assert outcomes[1].text == expected
        assert engine.ask(PROMPT, max_tokens=20).text == expected


def test_a_text_that_cannot_be_decoded_fails_alone(
    engine: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    apply = engine.engine._results._output.apply

    def broken(sequence: Any, *rest: Any) -> Any:
        if sequence.params.seed == 13:
            raise ValueError("no such token")
        return apply(sequence, *rest)

    monkeypatch.setattr(engine.engine._results._output, "apply", broken)
    bad = engine.send(PROMPT, max_tokens=20, seed=13)
    good = engine.send(PROMPT, max_tokens=20)
    assert fail_code(engine, bad) is ErrorCode.INFERENCE_FAILED
    engine.finish(good)


def test_a_lost_device_fails_everyone_and_ends_the_loop(
    tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    harness = Harness(tiny_model, num_slots=1)

    def fail(plan: StepPlan) -> None:
        raise RuntimeError("CUDA error: device-side assert triggered")

    break_infer(harness, monkeypatch, fail)
    ids = [harness.send(PROMPT) for _ in range(3)]
    with pytest.raises(DeviceLost):
        harness.engine.run()
    assert all(isinstance(harness.outcome(request_id), Failed) for request_id in ids)


def test_drain_finishes_what_is_there_and_takes_nothing_new(engine: Harness) -> None:
    ids = [engine.send(PROMPT, max_tokens=60) for _ in range(3)]
    engine.engine.drain(60.0)
    late = engine.send(PROMPT)
    outcome = engine.outcome(late)
    assert isinstance(outcome, Failed)
    assert outcome.code is ErrorCode.NO_WORKER
    for request_id in ids:
        engine.finish(request_id)
    assert engine.drained.get(timeout=30).num_aborted == 0


def test_drain_cuts_off_what_takes_too_long(
    engine: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    break_infer(engine, monkeypatch, lambda plan: time.sleep(0.02))
    request_id = engine.send(PROMPT, max_tokens=500)
    engine.wait_for(request_id, Delta)
    engine.engine.drain(0.1)
    assert isinstance(engine.outcome(request_id), Failed)
    assert engine.drained.get(timeout=30).num_aborted == 1


def test_a_request_id_in_use_keeps_its_first_request(engine: Harness) -> None:
    request_id = engine.send(PROMPT, max_tokens=100)
    engine.wait_for(request_id, Delta)
    sequence = engine.engine._scheduler.find(request_id)
    assert sequence is not None
    engine.engine._inbox.put(lambda: engine.engine._enqueue(sequence))
    engine.finish(request_id)
    engine.ask(PROMPT, max_tokens=1)
    assert engine.num_left(request_id) == 0


def test_stats_count_what_happened(engine: Harness) -> None:
    engine.ask_all([PROMPT] * 4, max_tokens=10)
    stats = engine.engine.stats()
    assert (stats.requests_total, stats.prompt_tokens_total) == (4, 20)
    assert stats.generation_tokens_total == 40
    assert (stats.num_running, stats.num_waiting, stats.kv_cache_usage) == (0, 0, 0.0)
    assert stats.steps_total >= 10
    assert stats.resident_bytes > 0


def test_an_idle_engine_does_nothing(engine: Harness) -> None:
    engine.ask(PROMPT, max_tokens=1)
    before = time.process_time()
    threading.Event().wait(0.5)
    assert time.process_time() - before < 0.05
