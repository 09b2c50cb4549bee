from __future__ import annotations

from pathlib import Path
from typing import Any

from inference.catalog import sync_models
from inference.models import Model
from monitoring.models import AuditLog
from tests.conftest import MODEL
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
