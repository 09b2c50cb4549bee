"""Small programs as children, and a script that supervises them in a process of its own."""

from __future__ import annotations

import contextlib
import io
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from llamagpu.supervisor.child import ChildSpec

ROOT = Path(__file__).resolve().parents[2]
PATIENCE = 30.0


def wait_for(condition: Callable[[], bool], what: str) -> None:
    """Poll until true; the limit only ends a test that has failed anyway."""
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, f"never happened: {what}"
        time.sleep(0.02)


def is_alive(pid: int) -> bool:
    """A zombie is dead: only its parent has not looked yet."""
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def python_child(name: str, cwd: Path, code: str, **fields: object) -> ChildSpec:
    return ChildSpec(name=name, command=(sys.executable, "-c", code), cwd=cwd, **fields)


@pytest.fixture
def screen() -> io.StringIO:
    return io.StringIO()


@pytest.fixture
def run_script(tmp_path: Path) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Start a Python script that may use the project; whatever it leaves behind is killed."""
    started: list[subprocess.Popen[str]] = []

    def run(code: str, *arguments: object) -> subprocess.Popen[str]:
        file = tmp_path / f"script{len(started)}.py"
        file.write_text(code, encoding="utf-8")
        process = subprocess.Popen(
            [sys.executable, str(file), *map(str, arguments)],
            cwd=tmp_path,
            env={"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        started.append(process)
        return process

    yield run
    for process in started:
        with contextlib.suppress(psutil.NoSuchProcess):
            for descendant in psutil.Process(process.pid).children(recursive=True):
                descendant.kill()
        process.kill()
        process.communicate()


def read_pids(folder: Path, *names: str) -> list[int]:
    """The process ids that children have written into files of these names."""
    wait_for(
        lambda: all((folder / name).is_file() and (folder / name).read_text() for name in names),
        f"files {names}",
    )
    return [int((folder / name).read_text()) for name in names]
