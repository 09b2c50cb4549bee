"""Files under /v1/files: received whole or not at all, their owner's alone."""

from __future__ import annotations

import asyncio
import errno
import stat
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from django.conf import settings as project_settings
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client
from django.utils import timezone

from accounts.services.api_keys import create_api_key
from inference import file_store
from inference.models import FileBatch, StoredFile
from inference.services.files import remove_due_files, remove_strays
from monitoring.models import AuditLog, ConfigValue
from tests.conftest import Caller

TEXT = b'{"custom_id": "1"}\n'
HALF = b'--b\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\nx'


@pytest.fixture(autouse=True)
def counted(redis_client: Any) -> None:
    """Limits are counted in a real server."""


@pytest.fixture(autouse=True)
def empty_folder() -> Iterator[None]:
    yield
    for path in files_on_disk():
        path.unlink()


def upload(caller: Caller, content: bytes = TEXT, name: str = "in.jsonl", **fields: Any) -> Any:
    form = {"file": SimpleUploadedFile(name, content), "purpose": "batch", **fields}
    form = {name: value for name, value in form.items() if value is not None}
    return Client().post("/v1/files", form, headers=caller.headers)


def get(caller: Caller, path: str) -> Any:
    return caller.get(f"/v1/files{path}")


def delete(caller: Caller, name: str) -> Any:
    return Client().delete(f"/v1/files/{name}", headers=caller.headers)


def content_of(response: Any) -> bytes:
    async def read() -> bytes:
        return b"".join([part async for part in response.streaming_content])

    return asyncio.run(read())


def files_on_disk() -> list[Path]:
    root = project_settings.LLAMA.files_dir
    return [path for path in root.rglob("*") if path.is_file()] if root.is_dir() else []


def error_of(response: Any, status: int) -> dict[str, Any]:
    assert response.status_code == status, response.content
    return dict(response.json()["error"])


def change_setting(name: str, value: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from monitoring import configuration

    ConfigValue.objects.update_or_create(name=name, defaults={"value": value})
    monkeypatch.setattr(configuration, "_known", configuration._Known({}, float("-inf")))


def test_a_file_is_stored_listed_read_and_deleted(member: Caller) -> None:
    body = upload(member).json()
    assert body["object"] == "file"
    assert (body["bytes"], body["filename"]) == (len(TEXT), "in.jsonl")
    assert (body["purpose"], body["status"]) == ("batch", "processed")
    assert body["expires_at"] - body["created_at"] == 30 * 86400
    assert get(member, f"/{body['id']}").json() == body
    assert get(member, "").json()["data"] == [body]
    response = get(member, f"/{body['id']}/content")
    assert response.headers["Content-Disposition"] == 'attachment; filename="in.jsonl"'
    assert response.headers["Content-Length"] == str(len(TEXT))
    assert content_of(response) == TEXT
    deleted = delete(member, body["id"]).json()
    assert deleted == {"id": body["id"], "object": "file", "deleted": True}
    assert files_on_disk() == []
    assert error_of(get(member, f"/{body['id']}"), 404)["type"] == "not_found_error"
    deeds = AuditLog.objects.filter(target_type="storedfile").order_by("pk")
    assert [row.action for row in deeds] == ["file.stored", "file.deleted"]


def test_the_bytes_are_for_the_owner_of_the_process_alone(member: Caller) -> None:
    upload(member)
    (path,) = files_on_disk()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    row = StoredFile.objects.get()
    assert path.name == row.pk.hex
    assert len(row.sha256) == 64


def test_anothers_file_looks_like_a_missing_one_to_everybody(
    member: Caller, operator: Caller, admin: Caller
) -> None:
    name = upload(member).json()["id"]
    missing = "file-" + "0" * 32
    for caller in (operator, admin):
        assert get(caller, "").json()["data"] == []
        for path in ("", "/content"):
            theirs = error_of(get(caller, f"/{name}{path}"), 404)
            nobodys = error_of(get(caller, f"/{missing}{path}"), 404)
            assert theirs["message"].replace(name, "x") == nobodys["message"].replace(missing, "x")
        assert delete(caller, name).status_code == 404
    assert StoredFile.objects.count() == 1


def test_guests_and_keys_of_another_scope_are_refused(member: Caller, guest: Caller) -> None:
    assert upload(guest).status_code == 403
    _, key = create_api_key(actor=None, user=member.user, name="narrow", scopes=["infer"])
    assert upload(Caller(member.user, str(key))).status_code == 403
    _, key = create_api_key(actor=None, user=member.user, name="right", scopes=["batch"])
    assert upload(Caller(member.user, str(key))).status_code == 200
    assert len(files_on_disk()) == 1


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"purpose": "fine-tune"}, "purpose"),
        ({"purpose": None}, "purpose"),
        ({"colour": "red"}, "colour"),
        ({"purpose": ["batch", "batch"]}, "purpose"),
        ({"expires_after[anchor]": "created_at"}, "expires_after.seconds"),
        ({"expires_after[seconds]": "3600"}, "expires_after.anchor"),
        (
            {"expires_after[anchor]": "created_at", "expires_after[seconds]": "1"},
            "expires_after.seconds",
        ),
        ({"expires_after": "soon"}, "expires_after"),
        ({"file": "no file"}, "file"),
        ({"file": None}, "file"),
        ({"other": SimpleUploadedFile("b", b"x")}, "other"),
    ],
)
def test_a_form_that_says_something_else_is_refused_by_name_and_leaves_nothing(
    member: Caller, fields: dict[str, Any], param: str
) -> None:
    assert error_of(upload(member, **fields), 400)["param"] == param
    assert files_on_disk() == []
    assert not StoredFile.objects.exists()


def test_two_files_in_one_call_are_refused(member: Caller) -> None:
    files = [SimpleUploadedFile("a", b"x"), SimpleUploadedFile("b", b"y")]
    assert error_of(upload(member, file=files), 400)["param"] == "file"
    assert files_on_disk() == []


@pytest.mark.parametrize(
    ("body", "content_type", "status"),
    [
        (b"{}", "application/json", 415),
        (b"x", "multipart/form-data", 400),
        (b"x", "multipart/form-data; boundary=\xe9", 400),
        (b"x", "multipart/form-data; boundary=b", 400),
        (b"", "multipart/form-data; boundary=b", 400),
        (HALF, "multipart/form-data; boundary=b", 400),
    ],
)
def test_a_body_that_is_no_form_is_refused(
    member: Caller, body: bytes, content_type: str, status: int
) -> None:
    response = Client().post(
        "/v1/files", data=body, content_type=content_type, headers=member.headers
    )
    error_of(response, status)
    assert files_on_disk() == []


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ("../../etc/passwd", "passwd"),
        ("C:\\temp\\a.jsonl", "a.jsonl"),
        ("a" * 400 + ".jsonl", "a" * 249 + ".jsonl"),
        ('q"uote.jsonl', 'q"uote.jsonl'),
        ("snow ☃.jsonl", "snow ☃.jsonl"),
    ],
)
def test_a_name_is_shown_and_never_a_path(member: Caller, given: str, shown: str) -> None:
    form = SimpleUploadedFile("x", TEXT)
    form._name = given  # type: ignore[attr-defined]
    body = upload(member, file=form).json()
    assert body["filename"] == shown
    response = get(member, f"/{body['id']}/content")
    assert "\n" not in response.headers["Content-Disposition"]
    assert content_of(response) == TEXT


def test_a_file_over_the_limit_is_refused_and_leaves_nothing(
    member: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    change_setting("max_file_bytes", 1024, monkeypatch)
    assert upload(member, b"x" * 1024).status_code == 200
    error = error_of(upload(member, b"x" * 1025), 413)
    assert "1024 bytes" in error["message"]
    assert len(files_on_disk()) == 1


def test_a_user_has_so_many_files_and_bytes_and_no_more(
    member: Caller, operator: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    change_setting("max_user_files", 2, monkeypatch)
    first = upload(member).json()["id"]
    assert upload(member).status_code == 200
    assert "LLAMA_MAX_USER_FILES" in error_of(upload(member), 409)["message"]
    assert upload(operator).status_code == 200
    delete(member, first)
    change_setting("max_user_file_bytes", 1024, monkeypatch)
    assert "LLAMA_MAX_USER_FILE_BYTES" in error_of(upload(member, b"x" * 1020), 409)["message"]
    assert len(files_on_disk()) == 2


def test_a_full_disk_is_told_and_leaves_nothing(
    member: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    full = SimpleNamespace(free=file_store.DISK_RESERVE + 3)
    monkeypatch.setattr("inference.file_store.shutil.disk_usage", lambda path: full)
    response = upload(member)
    assert error_of(response, 503)["code"] == "backend_unavailable"
    assert response.headers["Retry-After"] == "60"

    def no_room(file: Any) -> None:
        raise OSError(errno.ENOSPC, "full")

    monkeypatch.undo()
    monkeypatch.setattr(file_store, "seal", no_room)
    assert upload(member).status_code == 503
    assert files_on_disk() == []
    assert not StoredFile.objects.exists()


def test_a_row_that_cannot_be_written_leaves_no_bytes(
    member: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(**fields: Any) -> None:
        raise RuntimeError("no row")

    monkeypatch.setattr("inference.services.files.record", broken)
    assert upload(member).status_code == 500
    assert files_on_disk() == []


def test_lists_are_read_page_by_page(member: Caller) -> None:
    names = [upload(member, name=f"{n}.jsonl").json()["id"] for n in range(5)]
    newest = names[::-1]
    first = get(member, "?limit=2").json()
    assert [row["id"] for row in first["data"]] == newest[:2]
    assert (first["first_id"], first["last_id"], first["has_more"]) == (newest[0], newest[1], True)
    rest = get(member, f"?after={first['last_id']}&limit=3").json()
    assert [row["id"] for row in rest["data"]] == newest[2:]
    assert rest["has_more"] is False
    oldest = get(member, "?order=asc&limit=1").json()["data"]
    assert [row["id"] for row in oldest] == names[:1]
    assert get(member, "?purpose=batch_output").json()["data"] == []


@pytest.mark.parametrize(
    "query",
    ["limit=0", "limit=x", "limit=10001", "order=up", "purpose=x", "after=x", "after=", "page=2"],
)
def test_a_list_asked_for_otherwise_is_refused_by_name(member: Caller, query: str) -> None:
    response = get(member, f"?{query}")
    if query == "after=":
        assert response.status_code == 200
    else:
        assert error_of(response, 400)["param"] == query.partition("=")[0]


@pytest.mark.parametrize("name", ["x", "file-", "file-" + "z" * 32, "batch_" + "0" * 32])
def test_what_is_no_id_is_no_file(member: Caller, name: str) -> None:
    error_of(get(member, f"/{name}"), 404)
    error_of(delete(member, name), 404)


def test_an_earlier_end_can_be_asked_for(member: Caller) -> None:
    form = {"expires_after[anchor]": "created_at", "expires_after[seconds]": "7200"}
    body = upload(member, **form).json()
    assert body["expires_at"] - body["created_at"] == 7200


def test_a_file_goes_when_its_time_is_over_unless_a_batch_reads_it(member: Caller) -> None:
    gone, read = (StoredFile.objects.get(pk=_uuid(upload(member))) for _ in range(2))
    StoredFile.objects.update(expires_at=timezone.now())
    batch_of(read)
    assert remove_due_files() == 1
    assert [path.name for path in files_on_disk()] == [read.pk.hex]
    assert not StoredFile.objects.filter(pk=gone.pk).exists()


def test_a_file_that_a_batch_reads_cannot_be_deleted(member: Caller) -> None:
    row = StoredFile.objects.get(pk=_uuid(upload(member)))
    batch = batch_of(row)
    assert str(batch) in error_of(delete(member, str(row)), 409)["message"]
    FileBatch.objects.update(state="completed")
    assert delete(member, str(row)).status_code == 200
    batch.refresh_from_db()
    assert batch.input_file_id == row.pk


def test_what_a_killed_process_left_behind_is_removed(
    member: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = upload(member).json()["id"]
    draft = file_store.Draft(100)
    draft.write(b"half")
    draft._file.close()
    stray = file_store.path_of(_uuid(upload(member)))
    StoredFile.objects.filter(pk=stray.name).delete()
    remove_strays()
    assert len(files_on_disk()) == 3
    monkeypatch.setattr("inference.services.files._STRAY_AGE", -1.0)
    remove_strays()
    assert [f"file-{path.name}" for path in files_on_disk()] == [kept]


def _uuid(response: Any) -> Any:
    from inference.openai_api.file_fields import id_in

    return id_in(response.json()["id"], "file-")


def batch_of(row: StoredFile) -> FileBatch:
    return FileBatch.objects.create(
        owner=row.owner,
        is_by_key=False,
        request_id="r",
        endpoint="/v1/completions",
        input_file=row,
        expires_at=timezone.now() + timedelta(days=1),
    )
