"""GGUF in, a whole folder out, or nothing at all."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.torch import load_file

from inference.engine.convert import hash_file, main
from inference.model_files import read_model_files
from inference.protocol import ChatMessage, Prompt
from inference.tokenizer import Tokenizer
from tests.environment import MODEL_ROOT
from tests.inference.engine.harness import running_engine
from tests.inference.engine.tiny_ggufs import LAYERS, write_gguf

ROOT = Path(__file__).resolve().parents[3]


def convert(gguf_file: Path, out: Path) -> int:
    return main(["--gguf", str(gguf_file), "--out", str(out)])


def test_a_gguf_becomes_a_folder_that_is_served(tmp_path: Path) -> None:
    source, out = tmp_path / "tiny.gguf", tmp_path / "models" / "tiny"
    embedding = write_gguf(source)["token_embd.weight"]
    done = subprocess.run(
        [sys.executable, "-m", "inference.engine.convert", "--gguf", source, "--out", out],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    progress = [json.loads(line) for line in done.stdout.splitlines()]
    assert [p["stage"] for p in progress if p["fraction"] == 1.0] == [
        "hash", "load", "verify", "done",
    ]  # fmt: skip
    assert [entry.name for entry in out.parent.iterdir()] == ["tiny"]

    files = read_model_files(out)
    assert (files.num_layers, files.vocab_size, files.stored_dtype) == (LAYERS, 258, "F16")
    assert files.eos_token_ids == (257,)
    weights = load_file(out / "model.safetensors")
    stored = weights["model.embed_tokens.weight"].float().numpy()
    assert np.allclose(stored, embedding, rtol=2**-11, atol=1e-7)

    tokenizer = Tokenizer.load(out)
    prompt = Prompt(messages=(ChatMessage("user", "hé"),))
    assert tokenizer.decode(tokenizer.encode_prompt(prompt)) == "user: hé\n"

    manifest = json.loads((out / "manifest.json").read_text())
    assert manifest["source"]["sha256"] == hashlib.sha256(source.read_bytes()).hexdigest()
    for name, entry in manifest["files"].items():
        assert entry == {
            "sha256": hash_file(out / name),
            "bytes": (out / name).stat().st_size,
        }
    assert set(manifest["files"]) == {f.name for f in out.iterdir()} - {"manifest.json"}
    with running_engine(out) as engine:
        assert engine.ask(prompt, max_tokens=4).usage.completion_tokens == 4


def test_the_splitting_rule_that_the_file_names_is_kept(tmp_path: Path) -> None:
    rules: dict[str, Any] = {}
    for pre in ("smollm", "llama-bpe", "gpt-2"):
        write_gguf(tmp_path / f"{pre}.gguf", pre=pre)
        assert convert(tmp_path / f"{pre}.gguf", tmp_path / pre) == 0
        rules[pre] = json.loads((tmp_path / pre / "tokenizer.json").read_text())["pre_tokenizer"]
    assert rules["smollm"]["pretokenizers"][0] == {"type": "Digits", "individual_digits": True}
    assert rules["llama-bpe"]["pretokenizers"][0]["type"] == "Split"
    assert rules["gpt-2"]["type"] == "ByteLevel"


def test_a_splitting_rule_that_nobody_knows_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_gguf(tmp_path / "odd.gguf", pre="never-heard-of")
    assert convert(tmp_path / "odd.gguf", tmp_path / "odd") == 0
    assert "'never-heard-of' is unknown" in capsys.readouterr().err


def truncated(file: Path) -> None:
    write_gguf(file)
    file.write_bytes(file.read_bytes()[:5000])


def not_gguf(file: Path) -> None:
    file.write_bytes(b"not a model")


def empty(file: Path) -> None:
    file.write_bytes(b"")


def absent(file: Path) -> None:
    return


def too_large(file: Path) -> None:
    write_gguf(file, scale=1e5)


@pytest.mark.parametrize("damage", [truncated, not_gguf, empty, absent, too_large])
def test_what_cannot_be_converted_leaves_nothing(
    damage: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source, out = tmp_path / "bad.gguf", tmp_path / "models" / "bad"
    damage(source)
    assert convert(source, out) == 1
    errors = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1
    assert str(source) in errors[0]
    assert not out.exists()
    assert not out.parent.exists() or list(out.parent.iterdir()) == []


def test_a_folder_that_exists_is_left_alone(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_gguf(tmp_path / "tiny.gguf")
    (tmp_path / "out").mkdir()
    assert convert(tmp_path / "tiny.gguf", tmp_path / "out") == 1
    assert "exists already" in capsys.readouterr().err


def test_what_a_kill_left_behind_is_cleared_after_an_hour(tmp_path: Path) -> None:
    write_gguf(tmp_path / "tiny.gguf")
    old, fresh = tmp_path / ".out.old.partial", tmp_path / ".out.fresh.partial"
    for folder in (old, fresh):
        folder.mkdir()
    os.utime(old, (time.time() - 7200,) * 2)
    assert convert(tmp_path / "tiny.gguf", tmp_path / "out") == 0
    assert (old.exists(), fresh.exists()) == (False, True)


def test_wrong_arguments_are_exit_status_two() -> None:
    with pytest.raises(SystemExit) as end:
        main(["--gguf"])
    assert end.value.code == 2


def test_the_built_in_model_is_what_its_manifest_says() -> None:
    folder = MODEL_ROOT / "smollm2-135m-instruct"
    manifest = json.loads((folder / "manifest.json").read_text())
    for name, entry in manifest["files"].items():
        assert hash_file(folder / name) == entry["sha256"]
