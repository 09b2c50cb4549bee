"""A GPU serves: near float32, graphs like eager steps, short memory survived."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
import torch

from inference.engine.backends.selection import select_backend
from inference.engine.config import EngineConfig
from inference.engine.paged.serving import PagedServing, build_paged, record_graphs
from inference.engine.quantized_linear import quantize_linears
from inference.engine.trial.parity import compare, rows_between
from inference.engine.trial.random_llama import LlamaShape, make_llama
from inference.protocol import Load, Loaded, LoadFailed
from tests.inference.engine.harness import running_engine
from tests.inference.engine.parallel.test_ranks import greedy_text
from tests.inference.engine.test_batching import make_prompts
from tests.inference.engine.test_process import Child
from tests.inference.engine.tiny_models import write_model

pytestmark = pytest.mark.gpu

SHAPE = LlamaShape(4, 512, 1024, 8, 2, 64, 4096, is_tied=False, context=2048)
TOKENS = [(31 * index * index + 5) % 4096 for index in range(700)]


def free_bytes(device: torch.device) -> int:
    return torch.cuda.mem_get_info(device)[0]


@pytest.fixture(params=[0, 1, 2], ids=["eager", "graphs", "int8"])
def served(request: pytest.FixtureRequest, device: torch.device) -> Iterator[tuple[Any, Any]]:
    loaded = make_llama(SHAPE, device, torch.bfloat16)
    if request.param == 2:
        assert quantize_linears(loaded.model) == 28
    serving = build_paged(loaded, EngineConfig(num_slots=8, max_model_len=1024), free_bytes)
    assert serving.runner.uses_varlen
    if request.param:
        record_graphs(serving, lambda stage, fraction: None)
        assert serving.runner.graphs is not None
        assert serving.runner.graphs.sizes == (1, 2, 4, 8)
    yield loaded, serving


def test_logits_are_those_of_float32(served: tuple[Any, PagedServing]) -> None:
    parity = compare(*served, TOKENS, chunk=256, num_decodes=20)
    assert parity.difference < 0.1
    assert parity.agreement > 0.9


def test_a_replayed_step_is_an_eager_step(device: torch.device) -> None:
    loaded = make_llama(SHAPE, device, torch.bfloat16)
    serving = build_paged(loaded, EngineConfig(num_slots=4, max_model_len=1024), free_bytes)
    place = serving.accounting.allocate(400)
    assert place is not None
    table = list(serving.accounting.table(place.slot))
    serving.runner.compute(rows_between(TOKENS, 0, 300, table, serving.accounting.page))
    step = rows_between(TOKENS, 300, 301, table, serving.accounting.page)
    eager = serving.runner.compute(step).clone()
    record_graphs(serving, lambda stage, fraction: None)
    assert serving.runner.graphs is not None
    for _ in range(3):
        torch.testing.assert_close(serving.runner.compute(step), eager, rtol=0.02, atol=0.02)


def test_float32_says_what_the_cpu_says(tmp_path: Path) -> None:
    path = write_model(tmp_path)
    texts = []
    for backend in ("cpu", "auto"):
        with running_engine(path, backend=backend, dtype="float32", optimization_level=0) as engine:
            texts.append(engine.ask_all(make_prompts(8), max_tokens=30))
    assert texts[0] == texts[1]


def test_many_callers_are_served_from_graphs(tmp_path: Path) -> None:
    path = write_model(tmp_path)
    with running_engine(path, backend="auto", num_slots=8) as engine:
        texts = engine.ask_all(make_prompts(20), max_tokens=30)
        facts = engine.running.backend.get_capabilities()
    assert all(len(text) == 30 for text in texts)
    assert facts["attention"] == "varlen"
    assert facts["graph_batch_sizes"] == [1, 2, 4, 8]
    # As strict as the wire: no subclass of str, no tuple.
    assert json.loads(msgspec.json.encode(facts))["memory_total_bytes"] > 0


def test_short_memory_is_survived(tmp_path: Path, device: torch.device) -> None:
    path = write_model(tmp_path)
    prompt = make_prompts(1)[0]
    with running_engine(path, backend="auto", num_slots=4, max_model_len=512) as engine:
        before = engine.ask(prompt, max_tokens=20).text
        torch.cuda.empty_cache()
        hog = torch.empty(
            max(0, free_bytes(device) - 8 * 1024**2), dtype=torch.uint8, device=device
        )
        outcomes = [engine.send(p, max_tokens=20) for p in make_prompts(4)]
        for request in outcomes:
            engine.outcome(request)
        del hog
        torch.cuda.empty_cache()
        assert engine.ask(prompt, max_tokens=20).text == before


def test_the_selected_backend_is_the_gpu() -> None:
    assert select_backend("auto").backend.name in ("cuda", "rocm")


@pytest.mark.parametrize("split", [{"tensor_parallel": 2}, {"devices": (0, 1)}])
def test_two_gpus_say_what_one_says(split: dict[str, Any], tmp_path: Path) -> None:
    if torch.cuda.device_count() < 2:
        pytest.skip("one GPU is here")
    path = write_model(tmp_path)
    texts = []
    for options in ({}, split):
        child = Child()
        try:
            child.send(Load(str(path), dtype="float32", optimization_level=0, **options))
            assert isinstance(child.wait_for(Loaded, LoadFailed), Loaded)
            texts.append(greedy_text(child))
        finally:
            child.close()
    assert texts[0] == texts[1]
