"""Which device holds which layer, and the numbers that follow the layers there."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from inference.engine.errors import LoadError
from inference.engine.paged.attention import PagedStep
from inference.engine.paged.inputs import InputStaging
from inference.engine.paged.rows import PagedRows
from inference.engine.parallel.placement import (
    devices_of_layers,
    pipeline_placement,
    split_layers,
)
from tests.inference.engine.tiny_models import write_model

CPU, META = torch.device("cpu"), torch.device("meta")


def test_layers_go_where_there_is_room() -> None:
    assert split_layers(4, [10, 10]) == [0, 0, 1, 1]
    assert split_layers(4, [30, 10]) == [0, 0, 0, 1]
    assert split_layers(3, [100, 1, 1]) == [0, 1, 2]
    with pytest.raises(LoadError, match="2 layers cannot be placed on 3 devices"):
        split_layers(2, [1, 1, 1])


@given(st.integers(1, 80), st.lists(st.integers(0, 100), min_size=1, max_size=8))
def test_every_device_gets_a_stretch_of_layers(num_layers: int, rooms: list[int]) -> None:
    if num_layers < len(rooms):
        return
    places = split_layers(num_layers, rooms)
    assert len(places) == num_layers
    assert places == sorted(places)
    assert set(places) == set(range(len(rooms)))


@pytest.mark.parametrize(
    ("family", "head", "tied"),
    [("llama", META, False), ("llama", CPU, True), ("gpt2", CPU, True), ("gemma2", META, False)],
)
def test_a_model_is_cut_between_its_layers(
    family: str, head: torch.device, tied: bool, tmp_path: Path
) -> None:
    path = write_model(tmp_path, family, tie_word_embeddings=tied)
    placed = pipeline_placement(path, 3, [CPU, META], [1, 2])["device_map"]
    layers = {name: device for name, device in placed.items() if name[-1].isdigit()}
    assert list(layers.values()) == [CPU, META, META]
    assert placed["lm_head"] == head, "a shared embedding stays in one piece"
    for name, device in placed.items():
        if "embed" in name or "wte" in name or "rotary" in name:
            assert device == CPU


def test_the_cache_of_a_layer_is_where_the_layer_is() -> None:
    model = torch.nn.Module()
    model.layers = torch.nn.ModuleList(torch.nn.Identity() for _ in range(3))
    assert devices_of_layers(model, 3, CPU) is None
    model.hf_device_map = {"layers.0": 0, "layers.1": "cuda:1", "layers.2": torch.device("cuda", 1)}
    first, second = torch.device("cuda", 0), torch.device("cuda", 1)
    assert devices_of_layers(model, 3, first) == [first, second, second]
    model.hf_device_map = {"": CPU}
    assert devices_of_layers(model, 3, CPU) is None, "one device needs no list"


def test_a_step_is_copied_to_each_device_once() -> None:
    rows = PagedRows([1], [0], [64], [0], [1], [1], [[1]], num_decodes=1, num_logits=1)
    step = PagedStep(rows, InputStaging(CPU).upload(rows))
    assert step.on(CPU) is step.inputs
    there = step.on(META)
    assert there.tables.device == META
    assert there.tables.shape == (1, 1)
    assert step.on(META) is there
