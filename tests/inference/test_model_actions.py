"""Django admin: actions on models that a hub or a folder has brought; what is refused is told."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from inference.models import Model
from inference.presence import EngineReport, announce
from inference.services.registration import Registration, register_model
from inference.states import ModelState
from monitoring.models import AuditLog
from tests.conftest import Caller
from tests.inference.engine.tiny_models import write_model
from tests.inference.test_admin import MODELS, signed_in
from tests.inference.test_doctor import with_config
from tests.inference.test_model_control import worker


@pytest.fixture(autouse=True)
def models(tmp_path: Path, settings: Any, db: None, redis_client: Any) -> Path:
    """The root, with `tiny` in it and registered, and `chat`, which is still at its hub."""
    root = tmp_path / "models"
    write_model(root / "tiny")
    with_config(settings, model_path=root, default_model="another")
    for source in ("path:tiny", "hub:org/chat@main"):
        register_model(actor=None, registration=Registration(source, None, {}))
    announce(redis_client, worker(EngineReport("tiny", ModelState.READY)))
    return root


def act(caller: Caller, action: str, *slugs: str) -> str:
    rows = Model.objects.filter(slug__in=slugs).values_list("pk", flat=True)
    body = {"action": action, "_selected_action": list(rows)}
    response = signed_in(caller).post(MODELS, body, follow=True)
    return str(response.content.decode())


def row(slug: str) -> Model:
    return Model.objects.get(slug=slug)


def audited(action: str) -> list[tuple[str, str]]:
    entries = AuditLog.objects.filter(action=action, actor__isnull=False)
    return sorted(entries.values_list("target_name", "actor_name"))


def test_what_is_missing_is_fetched(operator: Caller) -> None:
    assert "1 being fetched" in act(operator, "pull", "chat")
    assert row("chat").state == "downloading"
    assert audited("model.pull_started") == [("chat", "the-operator")]


def test_of_several_those_that_can_are_and_the_others_say_why(operator: Caller) -> None:
    page = act(operator, "pull", "chat", "tiny")
    assert "1 being fetched" in page
    assert "comes from path:tiny: there is nothing to fetch" in page
    assert (row("chat").state, row("tiny").state) == ("downloading", "available")


def test_without_a_worker_nothing_is_fetched_or_loaded(operator: Caller, redis_client: Any) -> None:
    redis_client.flushall()
    assert "No worker is running" in act(operator, "pull", "chat")
    assert "No inference worker" in act(operator, "load", "tiny")
    assert (row("chat").state, row("tiny").desired_state) == ("absent", "automatic")


def test_a_model_is_deleted_and_shown_no_more(operator: Caller, models: Path) -> None:
    assert "1 deleted" in act(operator, "remove", "tiny")
    assert row("tiny").state == "removed"
    assert (models / "tiny" / "config.json").is_file()
    page = signed_in(operator).get(MODELS).content.decode()
    assert ">tiny<" not in page
    assert ">chat<" in page
    assert audited("model.removed") == [("tiny", "the-operator")]


def test_the_default_model_stays_and_the_other_one_goes(
    operator: Caller, settings: Any, models: Path
) -> None:
    with_config(settings, default_model="tiny")
    page = act(operator, "remove", "chat", "tiny")
    assert "1 deleted" in page
    assert "is the default model" in page
    assert (row("chat").state, row("tiny").state) == ("removed", "available")


def test_a_model_is_disabled_and_enabled(operator: Caller) -> None:
    assert "1 disabled" in act(operator, "disable", "tiny")
    assert not row("tiny").is_enabled
    assert operator.post("/api/infer", {"text": "hi", "model": "tiny"}).status_code == 404
    assert "1 enabled" in act(operator, "enable", "tiny")
    assert row("tiny").is_enabled
    assert audited("model.changed") == [("tiny", "the-operator")] * 2


@pytest.mark.parametrize("action", ["pull", "remove", "disable", "load", "unload"])
def test_who_may_only_read_models_does_none_of_it(member: Caller, action: str) -> None:
    before = list(Model.objects.order_by("slug").values())
    act(member, action, "chat", "tiny")
    assert list(Model.objects.order_by("slug").values()) == before
