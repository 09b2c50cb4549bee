"""Uploads over HTTP: a form with one archive, from Admins."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client

from accounts.services.api_keys import create_api_key
from plugins_app.models import Plugin
from tests.conftest import Caller, make_caller
from tests.plugins_app.api.conftest import call
from tests.plugins_app.conftest import source
from tests.plugins_app.test_archive import tarred, zipped

pytestmark = pytest.mark.usefixtures("plugin_folder")
FILES = {"quiet/__init__.py": source(name="Quiet").encode()}


def upload(caller: Caller, content: bytes = zipped(FILES), **fields: Any) -> Any:
    form = {"file": SimpleUploadedFile("plugin.zip", content), **fields}
    return Client().post("/api/plugins/upload", form, headers=caller.headers)


@pytest.mark.parametrize("content", [zipped(FILES), tarred(FILES)])
def test_an_admin_uploads_and_deletes(admin: Caller, content: bytes) -> None:
    answer = upload(admin, content)
    plugin = answer.json()["plugin"]
    assert (answer.status_code, answer["Location"]) == (201, "/api/plugins/quiet")
    assert (plugin["state"], plugin["uploaded"], plugin["enabled"]) == ("discovered", True, False)
    assert upload(admin, content).status_code == 409
    assert upload(admin, content, replace="true").status_code == 201
    path = Path(plugin["path"])
    assert path.is_dir()
    assert call(admin, "DELETE", "/quiet").status_code == 204
    assert not path.exists()
    assert call(admin, "GET", "/quiet").status_code == 404


def test_others_do_not(operator: Caller, member: Caller, settings: Any) -> None:
    assert upload(operator).status_code == 403
    assert upload(member).status_code == 403
    assert upload(make_caller("admin", scopes=("plugins:read",))).status_code == 403
    assert not settings.LLAMA.plugins_dir.exists()
    assert not Plugin.objects.filter(slug="quiet").exists()


def with_scopes(caller: Caller, *scopes: str) -> Caller:
    _, key = create_api_key(actor=None, user=caller.user, name="narrow", scopes=scopes)
    return Caller(caller.user, str(key))


def test_a_narrow_key_of_an_admin_brings_and_takes_no_code(admin: Caller) -> None:
    narrow = with_scopes(admin, "plugins:read", "plugins:write")
    assert upload(narrow).status_code == 403
    assert upload(admin).status_code == 201
    assert call(narrow, "DELETE", "/quiet").status_code == 403
    assert upload(narrow, replace="true").status_code == 403
    wide = with_scopes(admin, "plugins:write", "admin")
    assert upload(wide, replace="true").status_code == 201
    assert call(wide, "DELETE", "/quiet").status_code == 204


def test_an_archive_that_is_not_taken_is_refused_by_name(admin: Caller) -> None:
    for content in (b"hello", zipped({"quiet/../x": b""}), zipped({"quiet/__init__.py": b"x"})):
        answer = upload(admin, content)
        assert (answer.status_code, answer.json()["error"]["details"][0]["field"]) == (400, "file")


@pytest.mark.parametrize("form", [{}, {"file": "text"}, {"other": "x"}, {"replace": "maybe"}])
def test_a_form_without_a_file_is_refused(admin: Caller, form: Any) -> None:
    answer = Client().post("/api/plugins/upload", form, headers=admin.headers)
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "INVALID_INPUT")


def test_two_files_are_refused(admin: Caller) -> None:
    both = [SimpleUploadedFile(name, zipped(FILES)) for name in ("a.zip", "b.zip")]
    answer = Client().post("/api/plugins/upload", {"file": both}, headers=admin.headers)
    assert answer.status_code == 400


def test_json_is_no_form(admin: Caller) -> None:
    assert call(admin, "POST", "/upload", {}).status_code == 415


def test_the_name_of_a_call_is_no_name_for_a_plugin(admin: Caller) -> None:
    answer = upload(admin, zipped({"scan/__init__.py": source()}))
    assert answer.status_code == 400


def test_an_upload_without_any_body_names_the_file(admin: Caller) -> None:
    answer = Client().generic("POST", "/api/plugins/upload", headers=admin.headers)
    assert (answer.status_code, answer.json()["error"]["details"][0]["field"]) == (400, "file")
