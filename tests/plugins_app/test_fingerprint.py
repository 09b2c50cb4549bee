"""One digest over all that a plugin consists of."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from plugins_app import fingerprint as module
from plugins_app.fingerprint import FingerprintError, fingerprint


@pytest.fixture
def package(tmp_path: Path) -> Path:
    folder = tmp_path / "loud"
    (folder / "words").mkdir(parents=True)
    (folder / "__init__.py").write_text("a = 1")
    (folder / "words" / "list.txt").write_text("b")
    return folder


def test_each_byte_and_each_name_counts(package: Path) -> None:
    first = fingerprint(package)
    assert first == fingerprint(package)
    assert len(first) == 64
    (package / "words" / "list.txt").write_text("c")
    second = fingerprint(package)
    (package / "words" / "list.txt").rename(package / "words" / "other.txt")
    third = fingerprint(package)
    (package / "words" / "more.txt").write_text("")
    assert len({first, second, third, fingerprint(package)}) == 4


def test_a_byte_does_not_move_from_file_to_file_unseen(package: Path) -> None:
    (package / "x").write_text("12")
    (package / "y").write_text("3")
    first = fingerprint(package)
    (package / "x").write_text("1")
    (package / "y").write_text("23")
    assert fingerprint(package) != first


def test_compiled_files_do_not_count(package: Path) -> None:
    first = fingerprint(package)
    (package / "__pycache__").mkdir()
    (package / "__pycache__" / "x.pyc").write_text("x")
    assert fingerprint(package) == first


def test_links_and_pipes_are_refused(package: Path) -> None:
    (package / "link").symlink_to("/etc/passwd")
    with pytest.raises(FingerprintError, match="link"):
        fingerprint(package)
    (package / "link").unlink()
    os.mkfifo(package / "pipe")
    with pytest.raises(FingerprintError, match="no file"):
        fingerprint(package)


def test_what_is_too_large_is_refused(package: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_BYTES", 5)
    with pytest.raises(FingerprintError, match="larger"):
        fingerprint(package)
    monkeypatch.setattr(module, "MAX_BYTES", 50)
    monkeypatch.setattr(module, "MAX_FILES", 1)
    with pytest.raises(FingerprintError, match="more than 1 files"):
        fingerprint(package)


def test_what_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FingerprintError, match="cannot be read"):
        fingerprint(tmp_path / "missing.py")
