"""A model folder's facts, and every way in which it can be broken."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from inference.model_files import ModelFilesError, read_model_files
from tests.environment import MODEL_ROOT

CONFIG: dict[str, Any] = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "hidden_size": 8,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 128,
    "vocab_size": 16,
    "eos_token_id": 2,
    "bos_token_id": 1,
}
Header = dict[str, Any]


def write_safetensors(file: Path, header: Header, data: bytes, cut: int = 0) -> None:
    encoded = json.dumps(header).encode()
    content = struct.pack("<Q", len(encoded)) + encoded + data
    file.write_bytes(content[: len(content) - cut])


def tensor(shape: list[int], start: int, dtype: str = "F32", width: int = 4) -> Header:
    size = width
    for number in shape:
        size *= number
    return {"dtype": dtype, "shape": shape, "data_offsets": [start, start + size]}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A whole, tiny model folder."""
    (tmp_path / "config.json").write_text(json.dumps(CONFIG))
    (tmp_path / "tokenizer.json").write_text("{}")
    header = {"a": tensor([16, 2], 0), "b": tensor([8], 128, "F16", 2), "__metadata__": {"x": "y"}}
    write_safetensors(tmp_path / "model.safetensors", header, bytes(144))
    return tmp_path


def change_config(folder: Path, **changes: Any) -> None:
    config = {**CONFIG, **changes}
    present = {name: value for name, value in config.items() if value is not None}
    (folder / "config.json").write_text(json.dumps(present))


def test_the_facts_of_a_folder(folder: Path) -> None:
    files = read_model_files(folder)
    assert (files.architecture, files.model_type) == ("LlamaForCausalLM", "llama")
    assert (files.num_layers, files.num_heads, files.num_kv_heads, files.head_dim) == (2, 4, 2, 2)
    assert (files.max_model_len, files.vocab_size, files.hidden_size) == (128, 16, 8)
    assert (files.eos_token_ids, files.bos_token_id) == ((2,), 1)
    assert (files.weight_bytes, files.num_parameters, files.stored_dtype) == (144, 40, "F32")
    assert files.weight_files == ("model.safetensors",)
    assert files.kv_bytes_per_token(2) == 2 * 2 * 2 * 2 * 2


def test_the_built_in_model() -> None:
    files = read_model_files(MODEL_ROOT / "smollm2-135m-instruct")
    assert (files.num_layers, files.num_kv_heads, files.head_dim) == (30, 3, 64)
    assert (files.max_model_len, files.stored_dtype) == (8192, "F16")
    assert files.num_parameters == 134_515_008
    assert files.weight_bytes == 2 * files.num_parameters


def test_generation_config_wins_over_config(folder: Path) -> None:
    (folder / "generation_config.json").write_text('{"eos_token_id": [5, 6], "bos_token_id": 4}')
    files = read_model_files(folder)
    assert (files.eos_token_ids, files.bos_token_id) == ((5, 6), 4)


def test_sizes_may_be_nested_or_named_as_gpt2_does(folder: Path) -> None:
    (folder / "config.json").write_text(json.dumps({"model_type": "m", "text_config": CONFIG}))
    assert read_model_files(folder).num_layers == 2
    old = {"n_positions": 64, "n_embd": 8, "n_layer": 2, "n_head": 2, "vocab_size": 16}
    (folder / "config.json").write_text(json.dumps(old))
    files = read_model_files(folder)
    assert (files.max_model_len, files.num_layers, files.num_kv_heads) == (64, 2, 2)
    assert (files.architecture, files.eos_token_ids) == ("unknown", ())


def test_a_window_that_is_switched_off_is_none(folder: Path) -> None:
    change_config(folder, sliding_window=32)
    assert read_model_files(folder).sliding_window == 32
    change_config(folder, sliding_window=32, use_sliding_window=False)
    assert read_model_files(folder).sliding_window is None


def test_shards_are_added_up(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    for index, name in enumerate(("one", "two")):
        header = {name: tensor([16, index + 1], 0)}
        write_safetensors(folder / f"{name}.safetensors", header, bytes(64 * (index + 1)))
    weight_map = {"one": "one.safetensors", "two": "two.safetensors"}
    index_file = folder / "model.safetensors.index.json"
    index_file.write_text(json.dumps({"weight_map": weight_map}))
    files = read_model_files(folder)
    assert (files.num_parameters, files.weight_files) == (48, tuple(weight_map.values()))
    index_file.write_text(json.dumps({"weight_map": {**weight_map, "three": "two.safetensors"}}))
    with pytest.raises(ModelFilesError, match=r"two\.safetensors: tensor three"):
        read_model_files(folder)


@pytest.mark.parametrize("name", ["../other.safetensors", "/etc/passwd", "a/b", "..", "", 3])
def test_a_shard_outside_the_folder_is_refused(name: Any, folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    index_file = folder / "model.safetensors.index.json"
    index_file.write_text(json.dumps({"weight_map": {"a": name}}))
    with pytest.raises(ModelFilesError, match="no file name of this folder"):
        read_model_files(folder)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("hidden_size", -1),
        ("hidden_size", None),
        ("hidden_size", 2),
        ("num_hidden_layers", 10_001),
        ("num_hidden_layers", "2"),
        ("num_hidden_layers", True),
        ("num_attention_heads", 0),
        ("vocab_size", 10_000_001),
        ("vocab_size", 1.5),
        ("max_position_embeddings", None),
        ("max_position_embeddings", [1]),
    ],
)
def test_absurd_sizes_are_refused(field: str, value: Any, folder: Path) -> None:
    change_config(folder, **{field: value})
    with pytest.raises(ModelFilesError, match=r"config\.json: "):
        read_model_files(folder)


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"num_hidden_layers": 500}, "500 layers, but the weight files hold only 2 tensors"),
        ({"vocab_size": 5_000_000}, "no tensor has more than 16 rows"),
    ],
)
def test_sizes_that_the_weights_cannot_have_are_refused(
    changes: dict[str, int], match: str, folder: Path
) -> None:
    change_config(folder, **changes)
    with pytest.raises(ModelFilesError, match=match):
        read_model_files(folder)


def test_a_recurrent_family_has_no_heads_and_no_longest_text(folder: Path) -> None:
    fields = {"num_attention_heads": None, "num_key_value_heads": None}
    change_config(folder, model_type="mamba", max_position_embeddings=None, **fields)
    files = read_model_files(folder)
    assert (files.num_kv_heads, files.kv_bytes_per_token(4), files.max_model_len) == (0, 0, 32_768)
    change_config(folder, model_type="bloom", max_position_embeddings=None)
    assert read_model_files(folder).max_model_len == 2048


def truncate_header(folder: Path) -> None:
    write_safetensors(folder / "model.safetensors", {"a": tensor([4], 0)}, b"", cut=5)


def truncate_data(folder: Path) -> None:
    write_safetensors(folder / "model.safetensors", {"a": tensor([4], 0)}, bytes(16), cut=1)


def add_bytes(folder: Path) -> None:
    write_safetensors(folder / "model.safetensors", {"a": tensor([4], 0)}, bytes(17))


def overlap(folder: Path) -> None:
    header = {"a": tensor([4], 0), "b": tensor([4], 8)}
    write_safetensors(folder / "model.safetensors", header, bytes(24))


def leave_shape_unfilled(folder: Path) -> None:
    header = {"a": {"dtype": "F32", "shape": [5], "data_offsets": [0, 16]}}
    write_safetensors(folder / "model.safetensors", header, bytes(16))


def name_unknown_type(folder: Path) -> None:
    write_safetensors(folder / "model.safetensors", {"a": tensor([4], 0, "X9")}, bytes(16))


def describe_badly(folder: Path) -> None:
    write_safetensors(folder / "model.safetensors", {"a": {"dtype": "F32"}}, b"")


def use_negative_shape(folder: Path) -> None:
    header = {"a": {"dtype": "F32", "shape": [-4, -1], "data_offsets": [0, 16]}}
    write_safetensors(folder / "model.safetensors", header, bytes(16))


def empty_weights(folder: Path) -> None:
    (folder / "model.safetensors").write_bytes(b"")


def no_tensors(folder: Path) -> None:
    write_safetensors(folder / "model.safetensors", {}, b"")


def huge_header(folder: Path) -> None:
    (folder / "model.safetensors").write_bytes(struct.pack("<Q", 2**60) + bytes(100))


def garbage_header(folder: Path) -> None:
    (folder / "model.safetensors").write_bytes(struct.pack("<Q", 8) + b"not json")


def remove_weights(folder: Path) -> None:
    (folder / "model.safetensors").unlink()


def leave_only_pickle(folder: Path) -> None:
    remove_weights(folder)
    (folder / "pytorch_model.bin").write_bytes(b"x")


def remove_tokenizer(folder: Path) -> None:
    (folder / "tokenizer.json").unlink()


def remove_config(folder: Path) -> None:
    (folder / "config.json").unlink()


def break_config(folder: Path) -> None:
    (folder / "config.json").write_text("{")


def make_config_a_list(folder: Path) -> None:
    (folder / "config.json").write_text("[]")


def nest_config_wrongly(folder: Path) -> None:
    (folder / "config.json").write_text('{"text_config": 3}')


def nest_config_deeply(folder: Path) -> None:
    (folder / "config.json").write_text("[" * 200_000)


@pytest.mark.parametrize(
    ("damage", "match"),
    [
        (truncate_header, r"model\.safetensors: truncated"),
        (truncate_data, r"model\.safetensors: truncated"),
        (add_bytes, "belong to no tensor"),
        (overlap, "overlaps"),
        (leave_shape_unfilled, "does not fill"),
        (name_unknown_type, "unknown type X9"),
        (describe_badly, "badly described"),
        (use_negative_shape, "impossible"),
        (empty_weights, "truncated"),
        (no_tensors, "no tensors"),
        (huge_header, "not safetensors"),
        (garbage_header, "not valid JSON"),
        (remove_weights, "no safetensors"),
        (leave_only_pickle, r"pytorch_model\.bin: pickle"),
        (remove_tokenizer, r"tokenizer\.json: missing"),
        (remove_config, r"config\.json: missing"),
        (break_config, r"config\.json: not valid JSON"),
        (make_config_a_list, "not a JSON object"),
        (nest_config_wrongly, "text_config is not an object"),
        (nest_config_deeply, "not valid JSON"),
    ],
)
def test_a_broken_folder_is_refused_by_file_and_reason(
    damage: Callable[[Path], None], match: str, folder: Path
) -> None:
    damage(folder)
    with pytest.raises(ModelFilesError, match=match):
        read_model_files(folder)


def test_a_folder_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelFilesError, match="no such model folder"):
        read_model_files(tmp_path / "nowhere")
    (tmp_path / "file").write_text("x")
    with pytest.raises(ModelFilesError, match="no such model folder"):
        read_model_files(tmp_path / "file")
