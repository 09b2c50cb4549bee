from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from inference.catalog import sync_models
from inference.engine.convert import convert_gguf
from inference.gguf_files import converted_folder
from inference.models import Model
from inference.prompts import check_fits, model_directory
from inference.protocol import Prompt
from llamagpu.http.errors import AppError
from llamagpu.lib.memory import MemoryLimit
from monitoring.models import AuditLog
from tests.conftest import MODEL
from tests.inference.engine.tiny_ggufs import write_gguf
from tests.inference.engine.tiny_models import write_model
from tests.inference.test_doctor import with_config


def test_the_built_in_model_is_registered_with_its_facts(model: Any) -> None:
    assert model.architecture == "LlamaForCausalLM"
    assert model.context_length == 8192
    assert model.num_parameters == 134_515_008
    assert len(model.sha256) == 64
    assert AuditLog.objects.filter(action="model.registered").count() == 1


def test_a_second_look_changes_nothing(model: Any) -> None:
    change = sync_models()
    assert (change.registered, change.vanished) == ([], [])
    assert AuditLog.objects.filter(target_type="model").count() == 1


def test_a_folder_that_is_gone_makes_its_model_absent(
    model: Any, settings: Any, tmp_path: Path
) -> None:
    with_config(settings, model_path=tmp_path)
    assert sync_models().vanished == [MODEL]
    assert Model.objects.get().state == "absent"


def test_a_folder_that_is_no_model_is_passed_over_with_its_reason(
    db: None, settings: Any, tmp_path: Path
) -> None:
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "config.json").write_text("{")
    (tmp_path / "bad name").mkdir()
    with_config(settings, model_path=tmp_path)
    rejected = sync_models().rejected
    assert "config.json" in rejected["broken"]
    assert "a-z" in rejected["bad name"]
    assert not Model.objects.exists()


def test_every_form_of_a_model_is_registered(db: None, settings: Any, tmp_path: Path) -> None:
    write_gguf(tmp_path / "Tiny.Q8_0.gguf")
    snapshot = tmp_path / "models--Org--Chat" / "snapshots" / "abc123"
    write_model(snapshot)
    with_config(settings, model_path=tmp_path)
    assert sync_models().registered == ["org--chat", "tiny.q8_0"]
    gguf, hub = Model.objects.get(slug="tiny.q8_0"), Model.objects.get(slug="org--chat")
    assert (gguf.format, gguf.stored_dtype, gguf.path) == ("gguf", "Q8_0", "Tiny.Q8_0.gguf")
    assert model_directory(gguf) == tmp_path / "Tiny.Q8_0.gguf"
    assert (hub.revision, model_directory(hub)) == ("abc123", snapshot)


def test_two_models_of_one_name_are_told(db: None, settings: Any, tmp_path: Path) -> None:
    write_gguf(tmp_path / "tiny.gguf")
    write_gguf(tmp_path / "TINY.gguf")
    with_config(settings, model_path=tmp_path)
    change = sync_models()
    assert change.registered == ["tiny"]
    assert "called 'tiny' already" in next(iter(change.rejected.values()))


def test_a_model_beyond_the_memory_limit_is_told_with_its_figures(
    db: None, settings: Any, tmp_path: Path
) -> None:
    write_gguf(tmp_path / "tiny.gguf")
    with_config(settings, model_path=tmp_path, max_memory=MemoryLimit.parse("100MiB"))
    change = sync_models()
    assert change.registered == ["tiny"]
    assert "of 0.10 GiB free: weights" in change.oversized["tiny"]
    assert "LLAMA_MAX_MEMORY=100MiB" in change.oversized["tiny"]


def test_a_gguf_is_counted_once_it_has_been_converted(
    db: None, settings: Any, tmp_path: Path
) -> None:
    (tmp_path / "models").mkdir()
    write_gguf(tmp_path / "models" / "tiny.gguf")
    with_config(settings, model_path=tmp_path / "models", data_dir=tmp_path)
    sync_models()
    model, prompt = Model.objects.get(), Prompt(text="hello")
    assert check_fits(model, prompt, 10, 128) is None
    gguf = tmp_path / "models" / "tiny.gguf"
    convert_gguf(gguf, converted_folder(gguf, settings.LLAMA.cache_dir), lambda stage, part: None)
    assert check_fits(model, prompt, 10, 128) == len("user: hello\n")
    with pytest.raises(AppError):
        check_fits(model, prompt, 200, 128)
