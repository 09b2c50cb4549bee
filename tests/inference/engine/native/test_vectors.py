"""Vectors of texts and log probabilities of prompts at level 3, where the kernels compute them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from inference.engine.native.library import KernelLibrary
from inference.engine.pooling import PooledStates, Pooling
from inference.engine.step_plan import PrefillChunk, StepPlan
from tests.inference.engine.harness import running_engine
from tests.inference.engine.native.packed_models import (
    make_sequence,
    pack_model,
    prefill,
    random_ids,
    running,
    write_lively_model,
)
from tests.inference.engine.test_embeddings import embed, inputs_of, states_of, unit, vectors_of
from tests.inference.engine.test_prompt_logprobs import values_of

TEXTS = [random_ids(length, length) for length in (1, 9, 64, 130, 200)]


@pytest.fixture(scope="module")
def prepared(prepared_cache: Path) -> dict[str, Any]:
    return {"optimization_level": 3, "cache_dir": str(prepared_cache)}


@pytest.mark.parametrize("family", ["llama", "gemma2", "qwen3"])
def test_hidden_states_are_transformers_own_but_for_rounding(
    family: str, library: KernelLibrary, tmp_path: Path
) -> None:
    path = write_lively_model(tmp_path, family)
    packed = pack_model(library, path)
    token_ids, beside = random_ids(150, 1), random_ids(40, 2)
    with running(library, packed.artifact) as runner:
        sequence = make_sequence(token_ids, 3)
        sequence.pool = PooledStates(Pooling.MEAN)
        other = make_sequence(beside, 5)
        rows = []
        for start, end in ((0, 64), (64, 150)):
            chunk = PrefillChunk(sequence, start, end, is_last=end == 150, num_logits=0)
            neighbour = PrefillChunk(other, 0, 40, is_last=True)
            runner.run(StepPlan(chunks=(neighbour, chunk)))
            rows.append(runner.hidden.clone())
        prefill(runner, beside, 6)
        assert runner.hidden.shape[0] == 0
    ours, theirs = torch.cat(rows), states_of(path, token_ids)
    assert ours.shape == theirs.shape
    similarity = torch.nn.functional.cosine_similarity(ours, theirs)
    assert float(similarity.mean()) > 0.997
    assert float(similarity.min()) > 0.97


def test_vectors_are_those_of_level_0_but_for_rounding(
    quick_model: Path, prepared: dict[str, Any]
) -> None:
    with running_engine(quick_model, **prepared) as engine:
        assert engine.engine.stats().optimization_level == 3
        told = engine.running.describe(0.0).capabilities["embeddings"]
        found = embed(engine, *TEXTS)
    assert told == {"dimensions": 64, "pooling": "mean"}
    for token_ids, vector in zip(TEXTS, found, strict=True):
        assert float(vector @ unit(states_of(quick_model, token_ids).mean(0))) > 0.995


def test_what_runs_beside_changes_no_bit(quick_model: Path, prepared: dict[str, Any]) -> None:
    with running_engine(quick_model, prefill_budget=64, **prepared) as engine:
        alone = [engine.ask(inputs_of(token_ids)).embeddings[0] for token_ids in TEXTS]
        busy = [engine.send(random_ids(30, seed), max_tokens=60) for seed in range(3)]
        assert list(engine.ask(inputs_of(*TEXTS)).embeddings) == alone
        for request_id in busy:
            engine.finish(request_id)


def test_prompts_are_scored_and_the_answer_stays(
    quick_model: Path, prepared: dict[str, Any]
) -> None:
    token_ids = TEXTS[-1]
    with running_engine(quick_model) as exact:
        expected = values_of(exact.ask(token_ids, max_tokens=0, prompt_logprobs=0))
    with running_engine(quick_model, **prepared) as engine:
        plain = engine.ask(token_ids, max_tokens=8, logprobs=0)
        scored = engine.ask(token_ids, max_tokens=8, logprobs=0, prompt_logprobs=0)
        assert (scored.text, scored.logprobs) == (plain.text, plain.logprobs)
        alone = engine.ask(token_ids, max_tokens=0, prompt_logprobs=0)
    assert values_of(alone) == values_of(scored)
    differences = [abs(a - b) for a, b in zip(values_of(alone), expected, strict=True)]
    assert sum(differences) / len(differences) < 0.1


def test_an_upgrade_in_the_middle_leaves_whole_vectors(
    quick_model: Path, prepared: dict[str, Any]
) -> None:
    settings = {**prepared, "optimization_level": 0, "prefill_budget": 64}
    with running_engine(quick_model, **settings) as engine:
        backend = engine.running.backend
        request_ids = [engine.send(inputs_of(*TEXTS)) for _ in range(4)]
        engine.engine.preempt_all(lambda: backend.set_optimization_level(3))
        for request_id in request_ids:
            for token_ids, vector in zip(TEXTS, vectors_of(engine.finish(request_id)), strict=True):
                assert float(vector @ unit(states_of(quick_model, token_ids).mean(0))) > 0.99
        assert engine.engine.stats().optimization_level == 3
