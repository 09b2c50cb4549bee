"""An upload lands whole, disabled and unapproved, or not at all."""

from __future__ import annotations

import errno
import os
import shutil
from collections import namedtuple
from pathlib import Path
from typing import Any

import pytest

from llamagpu.http.errors import AppError
from monitoring.models import AuditLog
from plugins_app.models import Plugin
from plugins_app.services import uploads
from plugins_app.services.approval import approve_plugin
from plugins_app.services.lifecycle import enable_plugin
from plugins_app.services.scanning import scan_plugins
from plugins_app.services.uploads import delete_plugin, upload_plugin
from plugins_app.wanted import wanted_specs
from tests.conftest import Caller
from tests.plugins_app.conftest import source
from tests.plugins_app.test_archive import tarred, zipped

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("redis_client", "plugin_folder")]
PACKED = zipped({"quiet/__init__.py": source(name="Quiet"), "quiet/words.txt": b"a"})


@pytest.fixture
def place(settings: Any, plugin_folder: Path) -> Path:
    folder: Path = settings.LLAMA.plugins_dir
    return folder


def leftovers(place: Path) -> list[Path]:
    incoming = place.parent / "incoming"
    return list(incoming.iterdir()) if incoming.exists() else []


def test_it_waits_for_approval(place: Path, admin: Caller) -> None:
    row = upload_plugin(actor=admin.user, content=PACKED)
    assert (row.slug, row.tier, row.state, row.is_enabled) == ("quiet", "user", "discovered", False)
    assert Path(row.path) == place / "quiet"
    assert (place / "quiet" / "words.txt").read_bytes() == b"a"
    assert leftovers(place) == []
    entry = AuditLog.objects.get(action="plugin.uploaded")
    assert (entry.actor_name, entry.data["bytes"]) == ("the-admin", len(PACKED))
    scan_plugins()
    assert Plugin.objects.get(slug="quiet").state == "discovered"
    row = approve_plugin(actor=admin.user, plugin=row, sha256=row.sha256)
    assert enable_plugin(actor=admin.user, plugin=row).state == "loaded"


def test_only_admins_upload_and_delete(place: Path, operator: Caller, admin: Caller) -> None:
    with pytest.raises(AppError) as refused:
        upload_plugin(actor=operator.user, content=PACKED)
    assert refused.value.code == "PERMISSION_DENIED"
    assert not place.exists()
    row = upload_plugin(actor=admin.user, content=PACKED)
    with pytest.raises(AppError):
        delete_plugin(actor=operator.user, plugin=row)
    assert (place / "quiet").is_dir()


@pytest.mark.parametrize(
    "content",
    [
        b"hello",
        zipped({"quiet/../../x": b"", "quiet/__init__.py": source()}),
        zipped({"quiet/__init__.py": b"no plugin"}),
        tarred({"quiet/__init__.py": b"def ("}),
    ],
)
def test_what_is_no_plugin_leaves_nothing(place: Path, content: bytes) -> None:
    with pytest.raises(AppError, match="file: ") as refused:
        upload_plugin(actor=None, content=content)
    assert refused.value.code == "INVALID_INPUT"
    assert not place.exists() or list(place.iterdir()) == []
    assert leftovers(place) == []
    assert not Plugin.objects.filter(slug="quiet").exists()


def test_what_is_too_large_is_refused() -> None:
    with pytest.raises(AppError) as refused:
        upload_plugin(actor=None, content=b"x" * (uploads.MAX_ARCHIVE + 1))
    assert refused.value.code == "CONTENT_TOO_LARGE"


def test_a_name_that_is_taken_is_refused(write_plugin: Any, place: Path) -> None:
    write_plugin("quiet")
    scan_plugins()
    for replace in (False, True):
        with pytest.raises(AppError, match="not uploaded"):
            upload_plugin(actor=None, content=PACKED, replace=replace)
    assert not (place / "quiet").exists()


def test_a_new_version_takes_the_place_and_waits_for_approval_again(place: Path) -> None:
    row = upload_plugin(actor=None, content=PACKED)
    approve_plugin(actor=None, plugin=row, sha256=row.sha256)
    enable_plugin(actor=None, plugin=row)
    newer = zipped({"quiet.py": source(name="Quiet", version="2.0.0")})
    with pytest.raises(AppError, match="replace=true"):
        upload_plugin(actor=None, content=newer)
    assert len(wanted_specs()) == 1
    row = upload_plugin(actor=None, content=newer, replace=True)
    assert (row.version, row.state, row.is_enabled) == ("2.0.0", "discovered", False)
    assert sorted(path.name for path in (place / "quiet").iterdir()) == ["__init__.py"]
    assert wanted_specs() == ()
    assert leftovers(place) == []


def test_a_full_disk_is_said_and_leaves_nothing(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(10**9, 10**9, 10))
    with pytest.raises(AppError) as refused:
        upload_plugin(actor=None, content=PACKED)
    assert refused.value.code == "BACKEND_UNAVAILABLE"
    assert not (place / "quiet").exists()
    assert leftovers(place) == []


@pytest.mark.parametrize("call", ["mkdir", "rename", "fsync"])
def test_a_disk_that_is_full_to_the_last_name_leaves_what_was_there(
    place: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    """There is room for bytes, but none for a file more."""
    before = upload_plugin(actor=None, content=PACKED)

    def fail(*args: Any, **kwargs: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    newer = zipped({"quiet.py": source(version="2.0.0")})
    with monkeypatch.context() as full:
        full.setattr(os, call, fail)
        with pytest.raises(AppError) as refused:
            upload_plugin(actor=None, content=newer, replace=True)
    assert refused.value.code == "BACKEND_UNAVAILABLE"
    scan_plugins()
    row = Plugin.objects.get(slug="quiet")
    assert (row.version, row.sha256) == ("1.0.0", before.sha256)
    assert leftovers(place) == []


def test_a_database_that_fails_leaves_what_was_there(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    upload_plugin(actor=None, content=PACKED)
    before = (place / "quiet" / "__init__.py").read_text()

    def fail(**kwargs: Any) -> None:
        raise RuntimeError("the database is away")

    monkeypatch.setattr(uploads.audit, "record", fail)
    newer = zipped({"quiet.py": source(version="2.0.0")})
    with pytest.raises(RuntimeError):
        upload_plugin(actor=None, content=newer, replace=True)
    with pytest.raises(RuntimeError):
        delete_plugin(actor=None, plugin=Plugin.objects.get(slug="quiet"))
    assert (place / "quiet" / "__init__.py").read_text() == before
    assert Plugin.objects.get(slug="quiet").version == "1.0.0"
    assert leftovers(place) == []


def test_a_deleted_one_is_gone_with_its_files(place: Path) -> None:
    row = upload_plugin(actor=None, content=PACKED)
    delete_plugin(actor=None, plugin=row)
    assert not (place / "quiet").exists()
    assert not Plugin.objects.filter(slug="quiet").exists()
    assert AuditLog.objects.filter(action="plugin.removed", target_name="quiet").exists()


def test_what_was_not_uploaded_is_not_deleted(loud: Plugin) -> None:
    with pytest.raises(AppError, match="was not uploaded"):
        delete_plugin(actor=None, plugin=loud)
    assert Path(loud.path).exists()
