"""Vectors of texts: transformers' own last hidden states, pooled, whatever else the engine does."""

from __future__ import annotations

import json
import random
import shutil
import struct
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM

from inference.protocol import Delta, Failed, Finished, Prompt, Started
from llamagpu.lib.error_codes import ErrorCode
from tests.inference.engine.harness import Harness, running_engine
from tests.inference.engine.tiny_models import write_model

ONE_EACH = ("llama", "gpt2", "gemma3_text", "qwen3_moe")


def ids(length: int, seed: int = 0) -> list[int]:
    source = random.Random(seed)  # noqa: S311
    return [source.randrange(256) for _ in range(length)]


def inputs_of(*token_ids: list[int]) -> Prompt:
    return Prompt(inputs=tuple(Prompt(token_ids=tuple(item)) for item in token_ids))


def vectors_of(finished: Finished) -> list[torch.Tensor]:
    return [
        torch.tensor(struct.unpack(f"<{len(item) // 4}f", item)) for item in finished.embeddings
    ]


def embed(engine: Harness, *token_ids: list[int]) -> list[torch.Tensor]:
    return vectors_of(engine.ask(inputs_of(*token_ids)))


def states_of(path: Path, token_ids: list[int]) -> torch.Tensor:
    """transformers' last hidden states, behind the final norm."""
    model = AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32)
    with torch.inference_mode():
        output = model(input_ids=torch.tensor([token_ids]), output_hidden_states=True)
    states: torch.Tensor = output.hidden_states[-1][0]
    return states


def unit(vector: torch.Tensor) -> torch.Tensor:
    return vector / vector.norm()


@pytest.mark.parametrize("family", ONE_EACH)
def test_a_vector_is_the_mean_of_transformers_own_states(family: str, tmp_path: Path) -> None:
    path = write_model(tmp_path, family, seed=3)
    texts = [ids(length, length) for length in (1, 7, 64, 65, 200)]
    with running_engine(path) as engine:
        found = embed(engine, *texts)
    for token_ids, vector in zip(texts, found, strict=True):
        assert float(vector.norm()) == pytest.approx(1.0, abs=1e-6)
        expected = unit(states_of(path, token_ids).mean(0))
        torch.testing.assert_close(vector, expected, atol=2e-5, rtol=1e-4)


@pytest.mark.parametrize("family", ["mamba", "bloom"])
def test_serial_models_give_them_too(family: str, tmp_path: Path) -> None:
    path = write_model(tmp_path, family, seed=3)
    texts = [ids(5), ids(150, 1)]
    with running_engine(path, prefill_budget=64) as engine:
        found = embed(engine, *texts)
        assert engine.ask(ids(5), max_tokens=3).usage.completion_tokens == 3
    for token_ids, vector in zip(texts, found, strict=True):
        expected = unit(states_of(path, token_ids).mean(0))
        torch.testing.assert_close(vector, expected, atol=1e-4, rtol=1e-3)


@pytest.mark.parametrize("level", [1, 2])
def test_levels_differ_by_rounding_alone(tiny_model: Path, level: int) -> None:
    texts = [ids(40), ids(130, 1)]
    with running_engine(tiny_model) as engine:
        exact = embed(engine, *texts)
    with running_engine(tiny_model, optimization_level=level) as engine:
        for vector, other in zip(embed(engine, *texts), exact, strict=True):
            assert float(vector @ other) > 0.99


def test_what_runs_beside_changes_nothing(tiny_model: Path) -> None:
    texts = [ids(length, length) for length in (3, 100, 250, 33, 64)]
    with running_engine(tiny_model, prefill_budget=128, num_slots=8) as engine:
        alone = [embed(engine, token_ids)[0] for token_ids in texts]
        busy = [engine.send(ids(90, seed), max_tokens=150) for seed in range(4)]
        together = [engine.send(inputs_of(*texts)) for _ in range(3)]
        for request_id in together:
            for vector, expected in zip(vectors_of(engine.finish(request_id)), alone, strict=True):
                torch.testing.assert_close(vector, expected, atol=1e-6, rtol=1e-5)
        for request_id in busy:
            assert engine.finish(request_id).usage.completion_tokens == 150


def test_streams_go_on_while_long_texts_are_embedded(tiny_model: Path) -> None:
    with running_engine(tiny_model, prefill_budget=64, num_slots=4) as engine:
        stream = engine.send(ids(5), max_tokens=400)
        engine.wait_for(stream, Delta)
        many = engine.send(inputs_of(*[ids(400, seed) for seed in range(8)]))
        order: list[str] = []
        engine.on_event = lambda event: order.append(type(event).__name__)
        assert len(engine.finish(many).embeddings) == 8
        # 50 steps of 64 tokens at the least, and a token of the stream in each.
        assert order.count("Delta") >= 40
        engine.on_event = None
        engine.engine.cancel(stream)
        assert isinstance(engine.outcome(stream), Failed)


def test_the_prefix_cache_neither_helps_nor_harms(engine: Harness) -> None:
    token_ids = ids(200)
    first = embed(engine, token_ids)[0]
    answer = engine.ask(token_ids, max_tokens=4)
    assert answer.usage.cached_tokens >= 128  # what an embedding leaves behind is of use
    again = engine.ask(inputs_of(token_ids))
    assert again.usage.cached_tokens == 0
    torch.testing.assert_close(vectors_of(again)[0], first)


def test_a_preempted_text_is_pooled_once(tiny_model: Path) -> None:
    token_ids = ids(300)
    with running_engine(tiny_model, prefill_budget=64, num_slots=2) as engine:
        expected = embed(engine, token_ids)[0]
        request_id = engine.send(inputs_of(token_ids))
        engine.wait_for(request_id, Started)
        engine.engine.preempt_all(lambda: None)
        torch.testing.assert_close(vectors_of(engine.finish(request_id))[0], expected)


def test_usage_counts_every_input(engine: Harness) -> None:
    finished = engine.ask(inputs_of(ids(5), ids(70), ids(1)))
    usage = finished.usage
    assert (usage.prompt_tokens, usage.completion_tokens) == (76, 0)
    assert finished.text == ""
    assert finished.timings.inference_time > 0


def test_more_inputs_than_places_and_queue(tiny_model: Path) -> None:
    texts = [ids(3, seed) for seed in range(60)]
    with running_engine(tiny_model, num_slots=4, max_waiting=2) as engine:
        assert len(embed(engine, *texts)) == 60


def test_cancelling_ends_all_inputs_with_one_event(tiny_model: Path) -> None:
    with running_engine(tiny_model, prefill_budget=64, num_slots=4) as engine:
        request_id = engine.send(inputs_of(*[ids(500, seed) for seed in range(50)]))
        engine.wait_for(request_id, Started)
        engine.engine.cancel(request_id)
        outcome = engine.outcome(request_id)
        assert isinstance(outcome, Failed)
        assert outcome.code is ErrorCode.CANCELLED
        # Of those that were begun, and of no other.
        assert 500 <= outcome.usage.prompt_tokens < 50 * 500
        assert engine.ask(ids(3), max_tokens=1).usage.completion_tokens == 1
        assert engine.num_left(request_id) == 0
        assert engine.engine.stats().num_running == 0


def test_a_deadline_ends_all_inputs(tiny_model: Path) -> None:
    with running_engine(tiny_model, num_slots=2) as engine:
        request_id = engine.send(inputs_of(*[ids(500, s) for s in range(200)]), timeout=0.05)
        outcome = engine.outcome(request_id)
        assert isinstance(outcome, Failed)
        assert outcome.code is ErrorCode.DEADLINE_EXCEEDED


def test_one_input_too_long_refuses_the_request(engine: Harness) -> None:
    outcome = engine.outcome(engine.send(inputs_of(ids(5), ids(513))))
    assert isinstance(outcome, Failed)
    assert outcome.code is ErrorCode.CONTEXT_LENGTH_EXCEEDED
    assert len(engine.ask(inputs_of(ids(512))).embeddings) == 1


def test_what_the_model_offers_is_told(engine: Harness) -> None:
    capabilities = engine.running.describe(0.0).capabilities
    assert capabilities["embeddings"] == {"dimensions": 64, "pooling": "mean"}
    assert capabilities["prompt_logprobs"] is True


def with_pooling(path: Path, folder: Path, **modes: bool) -> Path:
    """A copy with the files that sentence-transformers writes."""
    shutil.copytree(path, folder, dirs_exist_ok=True)
    (folder / "1_Pooling").mkdir()
    (folder / "1_Pooling" / "config.json").write_text(json.dumps(modes))
    (folder / "modules.json").write_text("[]")
    return folder


def test_a_model_made_for_it_says_how_to_pool(tiny_model: Path, tmp_path: Path) -> None:
    path = with_pooling(
        tiny_model, tmp_path, pooling_mode_lasttoken=True, pooling_mode_mean_tokens=False
    )
    token_ids = ids(200)
    with running_engine(path, prefill_budget=64) as engine:
        (vector,) = embed(engine, token_ids)
        told = engine.running.describe(0.0).capabilities["embeddings"]
    assert told == {"dimensions": 64, "pooling": "last"}
    torch.testing.assert_close(vector, unit(states_of(path, token_ids)[-1]), atol=2e-5, rtol=1e-4)


def test_a_way_of_pooling_that_is_not_served_is_named(tiny_model: Path, tmp_path: Path) -> None:
    path = with_pooling(tiny_model, tmp_path, pooling_mode_cls_token=True)
    with running_engine(path) as engine:
        outcome = engine.outcome(engine.send(inputs_of(ids(5))))
        assert engine.running.describe(0.0).capabilities["embeddings"] is None
        assert engine.ask(ids(5), max_tokens=1).usage.completion_tokens == 1
    assert isinstance(outcome, Failed)
    assert outcome.code is ErrorCode.INVALID_INPUT
    assert "pooling_mode_cls_token" in outcome.message


def test_states_that_are_no_numbers_fail_their_request_alone(
    engine: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    backend = engine.running.backend
    monkeypatch.setattr(
        type(backend), "hidden", property(lambda self: self._runner.hidden * float("nan"))
    )
    outcome = engine.outcome(engine.send(inputs_of(ids(5))))
    assert isinstance(outcome, Failed)
    assert outcome.code is ErrorCode.INFERENCE_FAILED
    monkeypatch.undo()
    assert len(engine.ask(inputs_of(ids(5))).embeddings) == 1
