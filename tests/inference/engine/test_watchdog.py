"""A step that hangs ends its process; idleness, slowness and being stopped do not."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import textwrap
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from inference import wire
from inference.engine.watchdog import EXIT_STUCK, Watchdog
from inference.protocol import Finished, Load, Loaded, Prompt, SamplingParams, Submit

ROOT = Path(__file__).resolve().parents[3]
TIMEOUT = 90.0

# The engine's own entry, in which the third forward pass hangs in `block`.
CHILD = """
import ctypes, os, sys
from inference.engine.backends.torch_backend import TorchBackend
from inference.engine import process

infer, calls = TorchBackend.infer, []

def hang(self, plan):
    calls.append(plan)
    if len(calls) == 3:
        {block}
    return infer(self, plan)

TorchBackend.infer = hang
sys.exit(process.main(["--channel-fd", sys.argv[1]]))
"""
# A read from a pipe that nobody writes to lets other threads run; `PyDLL` keeps Python's lock.
SLEEPING = "os.read(os.pipe()[0], 1)"
HOLDING_THE_LOCK = "ctypes.PyDLL(None).pause()"


@contextmanager
def stuck_child(block: str) -> Iterator[tuple[subprocess.Popen[str], socket.socket]]:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.settimeout(TIMEOUT)
        child = subprocess.Popen(
            [
                sys.executable,
                "-c",
                textwrap.dedent(CHILD).format(block=block),
                str(theirs.fileno()),
            ],
            pass_fds=[theirs.fileno()],
            cwd=ROOT,
            stderr=subprocess.PIPE,
            text=True,
        )
        try:
            yield child, ours
        finally:
            child.kill()
            child.communicate()


def wait_for(channel: socket.socket, kind: type[object]) -> None:
    while not isinstance(event := wire.receive(channel), kind):
        assert event is not None


@pytest.mark.parametrize(
    ("block", "status"), [(SLEEPING, EXIT_STUCK), (HOLDING_THE_LOCK, 1)], ids=["asleep", "locked"]
)
def test_a_step_that_hangs_ends_the_process_with_its_stack(
    block: str, status: int, tiny_model: Path
) -> None:
    with stuck_child(block) as (child, channel):
        load = Load(str(tiny_model), backend="cpu", num_threads=1, step_timeout=1.0, max_drafts=0)
        wire.send(channel, load)
        wait_for(channel, Loaded)
        params = SamplingParams(temperature=0.0, ignore_eos=True, max_tokens=50)
        wire.send(channel, Submit("one", Prompt(token_ids=(1, 2, 3)), params, TIMEOUT))
        assert child.wait(TIMEOUT) == status
        assert child.stderr is not None
        log = child.stderr.read()
    assert "in hang" in log


def test_a_process_that_was_stopped_for_longer_than_the_limit_goes_on(tiny_model: Path) -> None:
    with stuck_child("pass") as (child, channel):
        load = Load(str(tiny_model), backend="cpu", num_threads=1, step_timeout=1.5)
        wire.send(channel, load)
        wait_for(channel, Loaded)
        params = SamplingParams(temperature=0.0, ignore_eos=True, max_tokens=400)
        wire.send(channel, Submit("one", Prompt(token_ids=(1, 2, 3)), params, TIMEOUT))
        os.kill(child.pid, signal.SIGSTOP)
        threading.Event().wait(2.0)
        os.kill(child.pid, signal.SIGCONT)
        wait_for(channel, Finished)


class Looks:
    """Progress as told by a script; `leave` is noted and not carried out."""

    def __init__(self, script: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
        self.left = threading.Event()
        self.done = threading.Event()
        self._script = iter(script)
        # Its timer would end this very process.
        monkeypatch.setattr("faulthandler.dump_traceback_later", lambda *a, **k: None)
        watchdog = Watchdog(self._progress, timeout=0.4)
        monkeypatch.setattr(watchdog, "_leave", self._leave)
        self.watchdog = watchdog

    def _progress(self) -> int:
        value = next(self._script, None)
        if value is None:
            self.done.set()
            return 0
        return value

    def _leave(self) -> None:
        self.left.set()


SCRIPTS: list[tuple[str, list[int], bool]] = [
    ("idle", [4] * 30, False),
    ("slow but moving", [1, 1, 1, 3, 3, 3, 5, 5, 5, 7, 7, 7, 9, 9, 9], False),
    ("stuck", [2, 3, *[5] * 20], True),
]


@pytest.mark.parametrize(("name", "script", "leaves"), SCRIPTS, ids=[s[0] for s in SCRIPTS])
def test_only_a_step_that_stays_the_same_is_stuck(
    name: str, script: list[int], leaves: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks = Looks(script, monkeypatch)
    looks.watchdog.start()
    assert looks.done.wait(TIMEOUT)
    looks.watchdog.stop()
    assert looks.left.is_set() is leaves


def test_a_watchdog_that_is_stopped_leaves_no_thread_and_no_timer() -> None:
    calls: list[int] = []
    progress: Callable[[], int] = lambda: calls.append(1) or 0  # noqa: E731
    watchdog = Watchdog(progress, timeout=60.0)
    watchdog.start()
    (thread,) = [t for t in threading.enumerate() if t.name == "watchdog"]
    watchdog.stop()
    thread.join(TIMEOUT)
    assert not thread.is_alive()
