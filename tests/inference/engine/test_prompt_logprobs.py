"""Log probabilities of a prompt's own tokens, as evaluation harnesses want them."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM

from inference.engine.prompt_scores import scored_rows
from inference.protocol import Failed, Finished, FinishReason, Prompt
from llamagpu.lib.error_codes import ErrorCode
from tests.inference.engine.harness import Harness, running_engine
from tests.inference.engine.sequences import chunks, make_scheduler, make_sequence, run
from tests.inference.engine.tiny_models import text_of, write_model


def ids(length: int, seed: int = 0) -> list[int]:
    source = random.Random(seed)  # noqa: S311
    return [source.randrange(256) for _ in range(length)]


def expected_of(path: Path, token_ids: list[int]) -> torch.Tensor:
    """transformers' log probabilities [positions, vocab]."""
    model = AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32)
    with torch.inference_mode():
        logits = model(input_ids=torch.tensor([token_ids])).logits[0]
    return logits.log_softmax(-1)


def values_of(finished: Finished) -> list[float]:
    assert finished.prompt_logprobs is not None
    first, *rest = finished.prompt_logprobs
    assert first is None
    return [item.logprob for item in rest if item is not None]


@pytest.mark.parametrize("length", [2, 64, 65, 300])
def test_every_token_has_transformers_own(tiny_model: Path, length: int) -> None:
    token_ids = ids(length)
    with running_engine(tiny_model, prefill_budget=128) as engine:
        finished = engine.ask(token_ids, max_tokens=0, prompt_logprobs=2)
    expected = expected_of(tiny_model, token_ids)
    own = [float(expected[place, token_ids[place + 1]]) for place in range(length - 1)]
    assert values_of(finished) == pytest.approx(own, abs=1e-4)
    assert finished.prompt_logprobs is not None
    assert "".join(item.token for item in finished.prompt_logprobs if item) == text_of(
        token_ids[1:]
    )
    last = finished.prompt_logprobs[-1]
    assert last is not None
    best, best_ids = expected[length - 2].topk(2)
    assert [value for _, value in last.top] == pytest.approx(best.tolist(), abs=1e-4)
    assert last.top[0][0] == text_of([int(best_ids[0])])
    assert (finished.text, finished.finish_reason) == ("", FinishReason.LENGTH)
    usage = finished.usage
    assert (usage.prompt_tokens, usage.completion_tokens, usage.cached_tokens) == (length, 0, 0)


def test_an_answer_follows_as_ever(engine: Harness) -> None:
    token_ids = ids(150)
    plain = engine.ask(token_ids, max_tokens=5, logprobs=1)
    scored = engine.ask(token_ids, max_tokens=5, logprobs=1, prompt_logprobs=1)
    assert (scored.text, scored.logprobs) == (plain.text, plain.logprobs)
    assert len(values_of(scored)) == 149
    assert plain.prompt_logprobs is None


def test_a_prompt_of_one_token_has_none(engine: Harness) -> None:
    assert engine.ask(ids(1), max_tokens=0, prompt_logprobs=0).prompt_logprobs == (None,)


def test_a_prompt_alone_needs_no_scores(engine: Harness) -> None:
    finished = engine.ask(ids(20), max_tokens=0)
    assert (finished.text, finished.prompt_logprobs) == ("", None)
    # It may fill the whole context, since nothing follows.
    assert engine.ask(ids(512), max_tokens=0).usage.prompt_tokens == 512


def test_several_answers_have_one_prompt(engine: Harness) -> None:
    finished = engine.ask(ids(100), max_tokens=2, n=3, prompt_logprobs=0)
    assert len(finished.choices) == 3
    assert len(values_of(finished)) == 99
    assert len(engine.ask(ids(100), max_tokens=0, n=2, prompt_logprobs=0).choices) == 2


def test_beside_others_and_after_a_preemption_they_are_the_same(tiny_model: Path) -> None:
    token_ids = ids(300)
    with running_engine(tiny_model, prefill_budget=64, num_slots=4) as engine:
        alone = engine.ask(token_ids, max_tokens=0, prompt_logprobs=0)
        request_ids = [
            engine.send(token_ids, max_tokens=max_tokens, prompt_logprobs=0)
            for max_tokens in (0, 3, 60)
        ]
        engine.send(ids(5), max_tokens=40)
        for _ in range(3):
            engine.engine.preempt_all(lambda: None)
        for request_id in request_ids:
            assert values_of(engine.finish(request_id)) == pytest.approx(values_of(alone), abs=1e-5)


def test_a_model_served_serially_refuses_by_name(tmp_path: Path) -> None:
    with running_engine(write_model(tmp_path, "mamba")) as engine:
        outcome = engine.outcome(engine.send(ids(5), max_tokens=0, prompt_logprobs=0))
        assert engine.running.describe(0.0).capabilities["prompt_logprobs"] is False
        assert engine.ask(ids(5), max_tokens=0).usage.prompt_tokens == 5
    assert isinstance(outcome, Failed)
    assert outcome.code is ErrorCode.INVALID_INPUT
    assert outcome.message.startswith("logprobs: ")


def test_out_of_range_is_refused(engine: Harness) -> None:
    for params in ({"prompt_logprobs": 21}, {"prompt_logprobs": -1}, {"max_tokens": -1}):
        outcome = engine.outcome(engine.send(Prompt(token_ids=(1, 2)), **params))
        assert isinstance(outcome, Failed)
        assert outcome.code is ErrorCode.INVALID_INPUT


def test_a_step_holds_a_bounded_number_of_scored_rows() -> None:
    assert scored_rows(49_152) == 128
    assert scored_rows(1_000_000) == 64
    assert scored_rows(256) == 32_768
    scheduler = make_scheduler(budget=512, scored_rows=128)
    scheduler.add(make_sequence("a", 300, prompt_logprobs=0, tenant="a"))
    scheduler.add(make_sequence("b", 100, prompt_logprobs=0, tenant="b"))
    scheduler.add(make_sequence("c", 200, tenant="c"))
    plan = run(scheduler)
    scored = [chunk for chunk in plan.chunks if chunk.is_scored]
    assert sum(chunk.logit_rows for chunk in scored) <= 128
    assert ("c", 0, 200) in chunks(plan)
