"""Models that packed rows cannot serve run one sequence at a time, with the same words as generate()."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from inference.engine.backends.cpu import CpuBackend
from inference.engine.config import EngineConfig
from inference.engine.detokenizer import TextAssembler
from inference.engine.errors import LoadError
from inference.engine.scheduler import PrefillChunk, StepPlan
from inference.engine.sequence import Sequence
from inference.engine.serial_runner import SerialRunner
from inference.protocol import Delta, Failed, SamplingParams, Started
from llamagpu.lib.error_codes import ErrorCode
from tests.inference.engine.harness import running_engine
from tests.inference.engine.test_families import NUM_TOKENS, generate, prompts
from tests.inference.engine.tiny_models import CONTEXT, SERIAL_FAMILIES, write_model


@pytest.fixture(scope="module")
def hybrid_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("lfm2"), "lfm2")


@pytest.mark.parametrize("family", sorted(SERIAL_FAMILIES))
def test_greedy_text_equals_that_of_generate(family: str, tmp_path: Path) -> None:
    path = write_model(tmp_path, family)
    expected = [generate(path, prompt) for prompt in prompts()]
    with running_engine(path, prefill_budget=64) as engine:
        capabilities = engine.running.describe(0.0).capabilities
        # Sent together, they wait for each other.
        texts = engine.ask_all(prompts(), max_tokens=NUM_TOKENS, min_tokens=NUM_TOKENS)
    assert texts == expected
    assert capabilities["batching"] == "serial"
    assert capabilities["serial_reason"]
    assert str(tmp_path.parent) not in capabilities["serial_reason"]


def test_a_packed_model_says_so(tiny_model: Path) -> None:
    with running_engine(tiny_model) as engine:
        assert engine.running.describe(0.0).capabilities["batching"] == "continuous"


def test_one_slot_streams_and_the_others_wait(hybrid_model: Path) -> None:
    with running_engine(hybrid_model) as engine:
        assert engine.running.describe(0.0).num_slots == 1
        first = engine.send([1, 2, 3], max_tokens=200)
        second = engine.send([4, 5, 6], max_tokens=3)
        engine.wait_for(first, Delta)
        assert engine.num_left(second) == 0
        assert engine.finish(first).usage.completion_tokens == 200
        assert isinstance(engine.next_event(second), Started)
        assert engine.finish(second).usage.completion_tokens == 3


def test_a_cancelled_request_ends_and_the_next_one_starts_clean(hybrid_model: Path) -> None:
    with running_engine(hybrid_model) as engine:
        expected = engine.ask([9, 8, 7], max_tokens=10).text
        running = engine.send([1, 2, 3], max_tokens=400)
        engine.wait_for(running, Delta)
        engine.engine.cancel(running)
        outcome = engine.outcome(running)
        assert isinstance(outcome, Failed)
        assert outcome.code is ErrorCode.CANCELLED
        assert engine.ask([9, 8, 7], max_tokens=10).text == expected


def test_sampling_is_the_engines_own(hybrid_model: Path) -> None:
    with running_engine(hybrid_model) as engine:
        params: dict[str, Any] = {"temperature": 1.0, "seed": 7, "max_tokens": 12, "logprobs": 2}
        once = engine.ask([1, 2, 3], **params)
        again = engine.ask([1, 2, 3], **params)
        assert once.text == again.text
        assert once.logprobs is not None
        assert len(once.logprobs[0].top) == 2


def test_the_context_is_a_limit_here_too(hybrid_model: Path) -> None:
    with running_engine(hybrid_model, max_model_len=64) as engine:
        outcome = engine.outcome(engine.send([1] * 60, max_tokens=5))
        assert isinstance(outcome, Failed)
        assert outcome.code is ErrorCode.CONTEXT_LENGTH_EXCEEDED
    with running_engine(hybrid_model) as engine:
        assert engine.running.describe(0.0).max_model_len == CONTEXT


def sequence_of(prompt: list[int], request_id: str = "a") -> Sequence:
    sequence = Sequence(
        request_id=request_id,
        prompt_ids=prompt,
        params=SamplingParams(),
        text=TextAssembler(lambda ids: ""),
        now=0.0,
        timeout=1.0,
    )
    sequence.slot = 0
    return sequence


def prefill(sequence: Sequence, num_logits: int | None = None) -> StepPlan:
    end = sequence.num_tokens
    return StepPlan(chunks=(PrefillChunk(sequence, 0, end, is_last=True, num_logits=num_logits),))


@pytest.fixture
def runner(hybrid_model: Path) -> SerialRunner:
    backend = CpuBackend()
    backend.initialize()
    served = backend.load_model(str(hybrid_model), EngineConfig(num_threads=1))
    loaded = served.loaded
    return SerialRunner(loaded.model, loaded.device, loaded.files.vocab_size)


def test_whatever_is_not_the_next_token_is_computed_anew(runner: SerialRunner) -> None:
    sequence = sequence_of([1, 2, 3, 4])
    runner.run(prefill(sequence))
    sequence.output_ids, sequence.num_computed = [5], 4
    expected = runner.run(StepPlan(decodes=(sequence,)))
    # Another sequence takes the cache, as after a preemption, and the first one comes back.
    runner.run(prefill(sequence_of([9, 9], "b")))
    assert torch.allclose(runner.run(prefill(sequence)), expected, atol=1e-4)
    assert torch.allclose(runner.run(StepPlan(decodes=(sequence,))), expected, atol=1e-4)
    runner.cache.scrub(0, 5)
    assert runner.cache.num_bytes == 0
    assert torch.allclose(runner.run(StepPlan(decodes=(sequence,))), expected, atol=1e-4)
    assert runner.cache.num_bytes > 0
    assert runner.cache.release([0]) > 0


def test_several_rows_of_logits_are_had_from_one_pass(runner: SerialRunner) -> None:
    sequence = sequence_of([1, 2, 3, 4])
    rows = runner.run(prefill(sequence, num_logits=3))
    assert rows.shape[0] == 3
    assert torch.allclose(rows[1:2], runner.run(prefill(sequence_of([1, 2, 3]))), atol=1e-4)


def test_a_chunk_before_the_last_computes_nothing(runner: SerialRunner) -> None:
    plan = StepPlan(chunks=(PrefillChunk(sequence_of([1] * 100), 0, 64, is_last=False),))
    assert runner.run(plan).shape[0] == 0
    assert runner.cache.num_bytes == 0


def test_two_sequences_at_once_are_a_mistake_of_the_caller(runner: SerialRunner) -> None:
    with pytest.raises(RuntimeError, match="one sequence"):
        runner.run(StepPlan(decodes=(sequence_of([1]), sequence_of([2], "b"))))


def test_a_model_that_looks_ahead_is_refused(tmp_path: Path) -> None:
    path = write_model(tmp_path, "bert", pad_token_id=0)
    backend = CpuBackend()
    backend.initialize()
    with pytest.raises(LoadError, match="not a causal language model"):
        backend.load_model(str(path))
