from __future__ import annotations

import stat
import threading
from pathlib import Path

import pytest

from llamagpu.lib.secret_files import read_or_create, write_once


def test_a_secret_is_made_once_and_private(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "secret"
    first = read_or_create(path)
    assert len(first) >= 48
    assert read_or_create(path) == first
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_many_at_once_agree_on_one_secret(tmp_path: Path) -> None:
    found: list[str] = []
    threads = [
        threading.Thread(target=lambda: found.append(read_or_create(tmp_path / "s")))
        for _ in range(16)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(found)) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["s"]


def test_a_file_that_is_there_is_kept(tmp_path: Path) -> None:
    assert write_once(tmp_path / "s", "first")
    assert not write_once(tmp_path / "s", "second")
    assert read_or_create(tmp_path / "s") == "first"


def test_an_empty_secret_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "s").touch()
    with pytest.raises(ValueError, match="is empty"):
        read_or_create(tmp_path / "s")
