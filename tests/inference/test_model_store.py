"""What lies under a model root, in which form and revision."""

from __future__ import annotations

import json
import os
from pathlib import Path

import gguf
import pytest

from inference.gguf_files import converted_folder, outdated_folders, read_gguf_files
from inference.gguf_header import _TYPES, GgufError, read_gguf_header
from inference.model_files import ModelFilesError
from inference.model_store import find_model, gguf_of, list_models, read_facts, read_manifest
from tests.inference.engine.tiny_ggufs import LAYERS, WIDTH, write_gguf

OLD, NEW = "0a" * 20, "1b" * 20


def folder(path: Path, manifest: object = None) -> Path:
    path.mkdir(parents=True)
    (path / "config.json").write_text("{}")
    if manifest is not None:
        (path / "manifest.json").write_text(json.dumps(manifest))
    return path


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """One model of each form."""
    folder(tmp_path / "Plain", {"source": {"file": "x.gguf", "sha256": "ab" * 32}})
    hub = tmp_path / "models--Org--Chat-1B"
    for revision in (OLD, NEW):
        folder(hub / "snapshots" / revision)
    (hub / "refs").mkdir()
    (hub / "refs" / "main").write_text(OLD)
    write_gguf(tmp_path / "Tiny.Q8_0.gguf")
    (tmp_path / "held").mkdir()
    write_gguf(tmp_path / "held" / "inside.gguf")
    (tmp_path / ".hidden").mkdir()
    (tmp_path / "notes.txt").write_text("no model")
    return tmp_path


def test_every_form_is_found_under_its_name(root: Path) -> None:
    found = {model.slug: model for model in list_models(root)}
    assert list(found) == ["held", "org--chat-1b", "plain", "tiny.q8_0"]
    assert found["org--chat-1b"].model_id == "Org/Chat-1B"
    assert found["org--chat-1b"].revisions == (OLD, NEW)
    assert found["plain"].revision == "ab" * 6
    assert gguf_of(found["held"].path) == root / "held" / "inside.gguf"
    assert gguf_of(found["tiny.q8_0"].path) == root / "Tiny.Q8_0.gguf"
    assert gguf_of(found["plain"].path) is None


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("Org/Chat-1B", OLD),
        ("org--chat-1b", OLD),
        ("Org/Chat-1B@main", OLD),
        (f"Org/Chat-1B@{NEW}", NEW),
        ("Org/Chat-1B@1b1b", NEW),
    ],
)
def test_a_revision_is_named_behind_the_model(name: str, expected: str, root: Path) -> None:
    stored = find_model(root, name)
    assert stored.revision == expected
    assert stored.path.name == expected
    assert set(stored.revisions) == {OLD, NEW}


def test_names_that_mean_nothing_here_are_refused(root: Path) -> None:
    for name in ("nobody", "../Plain", "/etc", "", "Plain@ffff"):
        with pytest.raises(ModelFilesError):
            find_model(root, name)
    with pytest.raises(ModelFilesError, match="there are: held"):
        find_model(root, "nobody")
    with pytest.raises(ModelFilesError, match="0 revisions 'ff'"):
        find_model(root, "Org/Chat-1B@ff")


def test_a_root_may_be_one_model(root: Path) -> None:
    assert [model.slug for model in list_models(root / "Plain")] == ["plain"]
    assert [model.slug for model in list_models(root / "Tiny.Q8_0.gguf")] == ["tiny.q8_0"]
    assert list_models(root / "nowhere") == []


def test_a_folder_of_several_ggufs_does_not_say_which(root: Path) -> None:
    write_gguf(root / "held" / "other.gguf")
    with pytest.raises(ModelFilesError, match=r"inside\.gguf, other\.gguf"):
        read_facts(root / "held")


def test_without_a_main_the_youngest_revision_is_served(root: Path) -> None:
    hub = root / "models--Org--Chat-1B"
    (hub / "refs" / "main").unlink()
    os.utime(hub / "snapshots" / OLD, (1, 1))
    assert find_model(root, "Org/Chat-1B").revision == NEW


def test_a_manifest_that_is_none_says_nothing(root: Path) -> None:
    for content in ("[1]", "{", '{"source": 3, "files": []}'):
        (root / "Plain" / "manifest.json").write_text(content)
        assert read_manifest(root / "Plain") == {}


def test_the_facts_of_a_gguf(root: Path) -> None:
    files = read_facts(root / "Tiny.Q8_0.gguf")
    assert (files.format, files.architecture, files.stored_dtype) == ("gguf", "llama", "Q8_0")
    assert (files.num_layers, files.hidden_size, files.vocab_size) == (LAYERS, WIDTH, 258)
    assert (files.max_model_len, files.eos_token_ids, files.num_kv_heads) == (128, (257,), 2)


def test_the_types_are_those_of_the_format_itself() -> None:
    for number, (name, block, block_bytes) in _TYPES.items():
        kind = gguf.GGMLQuantizationType(number)
        assert (kind.name, gguf.GGML_QUANT_SIZES[kind]) == (name, (block, block_bytes))


def test_a_gguf_cut_anywhere_is_refused(tmp_path: Path) -> None:
    write_gguf(tmp_path / "m.gguf")
    whole = (tmp_path / "m.gguf").read_bytes()
    for length in (0, 3, 10, 100, 2000, len(whole) // 2, len(whole) - 40):
        (tmp_path / "m.gguf").write_bytes(whole[:length])
        with pytest.raises(ModelFilesError, match=r"m\.gguf"):
            read_gguf_files(tmp_path / "m.gguf")


@pytest.mark.parametrize(
    ("position", "value"),
    [(4, b"\x09"), (8, b"\xff" * 8), (16, b"\xff" * 8), (24, b"\xff" * 8), (0, b"GGML")],
)
def test_a_hostile_header_is_refused(position: int, value: bytes, tmp_path: Path) -> None:
    write_gguf(tmp_path / "m.gguf")
    content = bytearray((tmp_path / "m.gguf").read_bytes())
    content[position : position + len(value)] = value
    (tmp_path / "m.gguf").write_bytes(content)
    with pytest.raises(GgufError, match=r"m\.gguf"):
        read_gguf_header(tmp_path / "m.gguf")


@pytest.mark.parametrize(
    ("fields", "match"),
    [
        ({"split.count": 3}, "one of 3 parts"),
        ({"llama.attention.key_length": 2_000_000_000}, "key_length is 2000000000"),
    ],
)
def test_a_gguf_that_cannot_be_served_is_refused(
    fields: dict[str, int], match: str, tmp_path: Path
) -> None:
    write_gguf(tmp_path / "m.gguf", fields=fields)
    with pytest.raises(ModelFilesError, match=match):
        read_gguf_files(tmp_path / "m.gguf")


def test_the_converted_form_follows_from_place_size_and_time(tmp_path: Path) -> None:
    write_gguf(tmp_path / "m.gguf")
    write_gguf(tmp_path / "m-b.gguf")
    cache = tmp_path / "cache"
    first, other = (converted_folder(tmp_path / f"{name}.gguf", cache) for name in ("m", "m-b"))
    for path in (first, other):
        path.mkdir(parents=True)
    assert outdated_folders(tmp_path / "m.gguf", cache) == []
    os.utime(tmp_path / "m.gguf", (1, 1))
    assert converted_folder(tmp_path / "m.gguf", cache) != first
    assert outdated_folders(tmp_path / "m.gguf", cache) == [first]
