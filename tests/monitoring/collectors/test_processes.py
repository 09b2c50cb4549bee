"""Which processes are ours, and what real ones use."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator

import pytest

from monitoring.collectors.processes import ProcessReader, Role, role_of

PYTHON = "/srv/.venv/bin/python"
# It takes a MiB, keeps a thread, and stops when its input ends. Its name is an engine's.
CHILD = "import sys; held = bytearray(2**20); sys.stdout.write('up\\n'); sys.stdout.flush(); sys.stdin.read()"


@pytest.mark.parametrize(
    ("command", "role"),
    [
        (
            [PYTHON, "-m", "llamagpu.web_server", "--bind", "::", "llamagpu.asgi:application"],
            Role.WEB,
        ),
        ([PYTHON, "-m", "uvicorn", "llamagpu.asgi:application"], Role.WEB),
        ([PYTHON, "-m", "celery", "-A", "llamagpu", "worker"], Role.WORKER),
        (["/srv/.venv/bin/celery", "-A", "llamagpu", "worker"], Role.WORKER),
        ([PYTHON, "-m", "inference.engine.process", "--channel-fd", "7"], Role.ENGINE),
        ([PYTHON, "-m", "inference.engine.parallel.rank"], Role.ENGINE),
        ([PYTHON, "-I", "/srv/plugins_app/host/__main__.py"], Role.PLUGIN_HOST),
        (["/srv/bin/valkey-server unixsocket:/data/valkey.sock"], Role.VALKEY),
        (["redis-server", "*:6379"], Role.VALKEY),
        ([PYTHON, "manage.py", "monitor"], Role.MONITOR),
        ([PYTHON, "/srv/manage.py", "serve", "--no-pull"], Role.SUPERVISOR),
        ([PYTHON, "manage.py", "migrate"], None),
        (["/usr/bin/celery", "-A", "shop", "worker"], None),
        ([], None),
    ],
)
def test_a_process_is_known_by_its_command_line(command: list[str], role: Role | None) -> None:
    assert role_of(command) is role


@pytest.fixture
def child() -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(
        [sys.executable, "-c", CHILD, "inference.engine.process"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert process.stdout
    process.stdout.readline()
    yield process
    process.kill()
    process.communicate()


def test_a_real_process_is_measured(child: subprocess.Popen[bytes]) -> None:
    reader = ProcessReader(root=os.getpid())
    (first,) = [usage for usage in reader.read() if usage.pid == child.pid]
    assert first.role is Role.ENGINE
    assert first.cpu is None
    assert first.rss > 2**20
    assert first.pss is None or 0 < first.pss <= first.rss
    assert first.threads == 1
    assert first.fds is not None
    assert first.fds >= 3
    (second,) = [usage for usage in reader.read() if usage.pid == child.pid]
    assert second.cpu is not None


def test_a_process_that_has_ended_is_not_told_any_more(child: subprocess.Popen[bytes]) -> None:
    reader = ProcessReader(root=os.getpid())
    assert child.pid in [usage.pid for usage in reader.read()]
    child.kill()
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)  # a zombie: it is not collected yet
    assert child.pid not in [usage.pid for usage in reader.read()]


def test_a_process_of_another_stack_does_not_count(child: subprocess.Popen[bytes]) -> None:
    assert ProcessReader(root=child.pid).read()[0].pid == child.pid
    assert ProcessReader(root=2**22 - 1).read() == []
