"""`manage.py serve` where it must refuse: one clear sentence, status 1, nothing left running."""

from __future__ import annotations

import io
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from django.conf import settings

from llamagpu.lib.config import redis_socket
from llamagpu.supervisor.console import Console
from llamagpu.supervisor.data_lock import DataLock
from llamagpu.supervisor.launch import _start_redis
from llamagpu.supervisor.supervisor import Supervisor
from tests.supervisor.conftest import ROOT
from tests.supervisor.test_valkey import running


@pytest.fixture
def free_port() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as holder:
        port = holder.getsockname()[1]
    yield port


def serve(
    data_dir: Path, port: int, *arguments: str, **variables: str
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "manage.py", "serve", *arguments],
        cwd=ROOT,
        env={**os.environ, "LLAMA_DATA_DIR": str(data_dir), "LLAMA_PORT": str(port), **variables},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


def refused(outcome: subprocess.CompletedProcess[str]) -> str:
    assert outcome.returncode == 1, outcome.stderr
    assert "Traceback" not in outcome.stderr
    return outcome.stderr.splitlines()[-1]


def test_a_second_one_on_the_same_data_folder(tmp_path: Path, free_port: int) -> None:
    with DataLock(tmp_path):
        said = refused(serve(tmp_path, free_port))
    assert f"Another `manage.py serve` (process {os.getpid()}) already serves {tmp_path}" in said


def test_a_port_in_use_is_found_before_anything_starts(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        said = refused(serve(tmp_path, taken.getsockname()[1]))
    assert "is in use by another program" in said
    assert not (tmp_path / "valkey").exists()


def test_a_database_that_does_not_answer(tmp_path: Path, free_port: int) -> None:
    url = "postgres://someone:secret-word@127.0.0.1:9/portal"
    outcome = serve(tmp_path, free_port, DATABASE_URL=url)
    assert "The database portal on 127.0.0.1 cannot be reached" in refused(outcome)
    assert "secret-word" not in outcome.stdout + outcome.stderr


def test_a_redis_that_does_not_answer(tmp_path: Path, free_port: int) -> None:
    said = refused(serve(tmp_path, free_port, REDIS_URL="redis://127.0.0.1:9/0"))
    assert "The server in REDIS_URL cannot be used" in said
    assert not (tmp_path / "valkey").exists()


def test_a_wrong_variable_is_named(tmp_path: Path) -> None:
    assert refused(serve(tmp_path, 99_999)) == "LLAMA_PORT=99999: must be between 1 and 65535"


def test_a_wrong_port_on_the_command_line(tmp_path: Path, free_port: int) -> None:
    outcome = serve(tmp_path, free_port, "--port", "70000")
    assert outcome.returncode == 2
    assert "must be a number from 1 to 65535" in outcome.stderr


def test_a_server_of_ones_own_is_used_and_none_started(tmp_path: Path) -> None:
    with running(tmp_path / "theirs"):
        config = replace(
            settings.LLAMA,
            data_dir=tmp_path / "ours",
            redis_url=f"unix://{redis_socket(tmp_path / 'theirs')}",
            embedded_redis=False,
        )
        with Supervisor(Console(io.StringIO())) as supervisor:
            _start_redis(config, supervisor)
    assert not (tmp_path / "ours").exists()
