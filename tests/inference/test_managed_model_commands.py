"""manage.py rm; what manage.py run says before there is a server."""

from __future__ import annotations

import json
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from accounts.models import ApiKey
from inference.models import Model
from inference.services.registration import Registration, register_model
from monitoring.models import AuditLog
from tests.conftest import MODEL, Caller
from tests.inference.engine.tiny_models import write_model
from tests.inference.test_doctor import with_config


@pytest.fixture
def tiny(tmp_path: Path, settings: Any, db: None, redis_client: Any) -> Path:
    """The folder of a registered model."""
    root = tmp_path / "models"
    write_model(root / "tiny")
    with_config(settings, model_path=root, default_model="another")
    register_model(actor=None, registration=Registration("path:tiny", None, {}))
    return root / "tiny"


def run(*arguments: str) -> str:
    out = StringIO()
    call_command(*arguments, stdout=out)
    return out.getvalue()


def test_a_model_is_deleted_and_its_files_stay(tiny: Path) -> None:
    assert run("rm", "tiny") == "tiny is deleted, its files stay\n"
    assert Model.objects.get(slug="tiny").state == "removed"
    assert (tiny / "config.json").is_file()
    assert AuditLog.objects.get(action="model.removed").actor_name == "system"


def test_its_files_go_where_that_is_asked_for(tiny: Path) -> None:
    said = json.loads(run("rm", "tiny", "--files", "--json"))
    assert said == {"model": "tiny", "state": "removed", "files_kept": False}
    assert not tiny.exists()


def test_those_of_a_pulled_model_go_unless_they_are_to_stay(tiny: Path) -> None:
    Model.objects.update(source="hub:org/tiny@main", revision="c" * 40)
    assert run("rm", "tiny", "--keep-files") == "tiny is deleted, its files stay\n"
    assert tiny.exists()
    register_model(actor=None, registration=Registration("path:tiny", None, {}))
    Model.objects.update(source="hub:org/tiny@main", revision="c" * 40)
    assert run("rm", "tiny") == "tiny is deleted\n"
    assert not tiny.exists()


def test_a_deleted_model_is_not_there_and_the_default_one_stays(tiny: Path, settings: Any) -> None:
    run("rm", "tiny")
    with pytest.raises(CommandError, match="no model 'tiny'; there are: none"):
        run("rm", "tiny")
    register_model(actor=None, registration=Registration("path:tiny", None, {}))
    with_config(settings, default_model="tiny")
    with pytest.raises(CommandError, match="is the default model"):
        run("rm", "tiny")
    assert tiny.exists()


def test_keeping_and_deleting_files_exclude_each_other(tiny: Path) -> None:
    with pytest.raises(CommandError, match="not allowed with"):
        run("rm", "tiny", "--files", "--keep-files")


def test_talking_needs_a_model_that_is_there(model: Any) -> None:
    with pytest.raises(CommandError, match=f"no model 'nothing'; there are: {MODEL}"):
        run("run", "nothing", "hi")


def test_talking_in_json_needs_a_prompt(model: Any) -> None:
    with pytest.raises(CommandError, match="--json needs a prompt"):
        run("run", MODEL, "--json")


def test_talking_needs_an_active_user(model: Any, member: Caller) -> None:
    with pytest.raises(CommandError, match="no active user 'nobody'"):
        run("run", MODEL, "hi", "--user", "nobody")
    member.user.is_active = False
    member.user.save()
    with pytest.raises(CommandError, match="no active user 'the-user'"):
        run("run", MODEL, "hi", "--user", "the-user")


def test_talking_without_a_server_says_how_to_start_one_and_leaves_no_key(
    model: Any, member: Caller
) -> None:
    ApiKey.objects.all().delete()
    address = "http://127.0.0.1:9"
    with pytest.raises(CommandError, match=f"no server answers at {address}: start it with"):
        run("run", MODEL, "hi", "--user", "the-user", "--url", address)
    key = ApiKey.objects.get()
    assert (key.allowed_models, key.is_usable) == ([MODEL], False)


def test_talking_with_a_key_of_ones_own_makes_none(
    model: Any, member: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LLAMAGPU_API_KEY", member.key)
    monkeypatch.setenv("LLAMAGPU_HOST", "http://127.0.0.1:9/")
    with pytest.raises(CommandError, match="no server answers at"):
        run("run", MODEL, "hi")
    assert ApiKey.objects.count() == 1
