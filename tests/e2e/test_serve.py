"""Starting and stopping the whole stack."""

from __future__ import annotations

import stat
import subprocess
import sys
import tempfile
from pathlib import Path

import psutil
import pytest

from tests.e2e.conftest import PARIS, Stack
from tests.environment import PROJECT_ROOT


def test_the_embedded_server_is_private(stack: Stack) -> None:
    socket = next((stack.data_dir / "run").glob("*.sock"))
    assert stat.S_IMODE(socket.stat().st_mode) == 0o700
    assert stat.S_IMODE(socket.parent.stat().st_mode) == 0o700


def test_the_first_password_and_the_secrets_are_private(stack: Stack) -> None:
    for name in ("initial_admin_password", "secret_key", "key_pepper"):
        assert stat.S_IMODE((stack.data_dir / name).stat().st_mode) == 0o600


def test_the_printed_line_works_as_it_stands(stack: Stack) -> None:
    printed = next(line for line in stack.lines if "curl -s" in line)
    command = printed[printed.index("curl -s") :].strip()
    environment = stack.environment
    done = subprocess.run(  # noqa: S602  the line is meant for a shell
        command, shell=True, env=environment, capture_output=True, text=True, check=True
    )
    assert "Paris" in done.stdout


def test_a_stop_leaves_nothing_behind() -> None:
    with tempfile.TemporaryDirectory(prefix="llamagpu-e2e-") as folder:
        stack = Stack(Path(folder))
        stack.wait_ready()
        assert "Paris" in stack.text(PARIS)
        family = stack.stop()
        assert len(family) >= 4, "valkey, worker, engine, web"
        assert stack.process.returncode == 0
        assert [pid for pid in family if psutil.pid_exists(pid)] == []


@pytest.mark.parametrize("backend", ["cuda", "rocm"])
def test_asking_for_a_backend_that_is_not_there_is_a_clear_error(backend: str) -> None:
    with tempfile.TemporaryDirectory(prefix="llamagpu-e2e-") as folder:
        done = subprocess.run(
            [sys.executable, "manage.py", "serve", "--no-pull"],
            cwd=PROJECT_ROOT,
            env={"PATH": "/usr/bin:/bin", "LLAMA_DATA_DIR": folder, "LLAMA_BACKEND": backend},
            capture_output=True,
            text=True,
            timeout=120,
        )
    assert done.returncode == 1
    assert f"LLAMA_BACKEND={backend}" in done.stderr
