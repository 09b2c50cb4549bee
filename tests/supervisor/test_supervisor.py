"""Children that die, that will not stop, and that leave something behind."""

from __future__ import annotations

import io
import os
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from llamagpu.lib.backoff import Backoff
from llamagpu.supervisor.child import EXIT_CONFIGURATION, ChildSpec
from llamagpu.supervisor.console import Console
from llamagpu.supervisor.errors import StartError
from llamagpu.supervisor.supervisor import Supervisor
from tests.supervisor.conftest import is_alive, python_child, read_pids, wait_for

# Two children: `worker` has a grandchild in a session of its own, as an engine could be.
SUPERVISED = """
import sys
from pathlib import Path
from llamagpu.supervisor.child import ChildSpec
from llamagpu.supervisor.console import Console
from llamagpu.supervisor.supervisor import Supervisor

WORKER = '''
import os, pathlib, subprocess, sys, time
engine = subprocess.Popen(["sleep", "600"], start_new_session=True)
pathlib.Path("engine").write_text(str(engine.pid))
pathlib.Path("worker").write_text(str(os.getpid()))
time.sleep(600)
'''
WEB = '''
import os, pathlib, signal, sys, time
if "stubborn" in sys.argv:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
pathlib.Path("web").write_text(str(os.getpid()))
time.sleep(600)
'''
here = Path.cwd()
with Supervisor(Console(sys.stdout)) as supervisor:
    supervisor.start(ChildSpec("worker", (sys.executable, "-c", WORKER), here))
    supervisor.start(ChildSpec("web", (sys.executable, "-c", WEB, *sys.argv[1:]), here, stop_grace=1.0))
    supervisor.run()
"""
RunScript = Callable[..., "subprocess.Popen[str]"]


def test_a_stop_ends_everything_in_reverse_order(run_script: RunScript, tmp_path: Path) -> None:
    process = run_script(SUPERVISED)
    pids = read_pids(tmp_path, "engine", "worker", "web")
    process.send_signal(signal.SIGTERM)
    output, _ = process.communicate(timeout=30)
    assert process.returncode == 0
    assert output.splitlines() == ["serve   | stopping web", "serve   | stopping worker"]
    assert [pid for pid in pids if is_alive(pid)] == []


def test_a_child_that_ignores_the_stop_is_killed(run_script: RunScript, tmp_path: Path) -> None:
    process = run_script(SUPERVISED, "stubborn")
    pids = read_pids(tmp_path, "engine", "worker", "web")
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=30)
    assert process.returncode == 0
    assert "web did not stop in time and is killed" in output
    assert [pid for pid in pids if is_alive(pid)] == []


def test_children_die_with_a_supervisor_that_is_killed(
    run_script: RunScript, tmp_path: Path
) -> None:
    process = run_script(SUPERVISED)
    _, worker, web = read_pids(tmp_path, "engine", "worker", "web")
    process.kill()
    wait_for(lambda: not is_alive(worker) and not is_alive(web), "the children's death")
    (engine,) = read_pids(tmp_path, "engine")
    os.kill(engine, signal.SIGKILL)  # the real one ends at the end of its pipe


def test_a_killed_child_comes_back_and_its_orphan_goes(
    run_script: RunScript, tmp_path: Path
) -> None:
    process = run_script(SUPERVISED)
    engine, worker = read_pids(tmp_path, "engine", "worker")
    os.kill(worker, signal.SIGKILL)
    wait_for(lambda: (tmp_path / "worker").read_text() not in ("", str(worker)), "a new worker")
    assert not is_alive(engine)
    process.send_signal(signal.SIGTERM)
    output, _ = process.communicate(timeout=30)
    assert "worker died (killed by SIGKILL); starting it again in" in output
    assert "worker was started again (process " in output


def test_no_line_is_lost_at_the_end(screen: io.StringIO, tmp_path: Path) -> None:
    code = (
        "import time\n"
        "print('\\n'.join(map(str, range(20_000))), flush=True)\n"
        "open('done', 'w').close()\n"
        "time.sleep(600)"
    )
    with Supervisor(Console(screen)) as supervisor:
        supervisor.start(python_child("web", tmp_path, code))
        wait_for((tmp_path / "done").exists, "the last line")
    said = [line for line in screen.getvalue().splitlines() if line.startswith("web")]
    assert said[-1] == "web     | 19999"
    assert len(said) == 20_000


def test_children_of_before_are_left_alone(screen: io.StringIO, tmp_path: Path) -> None:
    elder = subprocess.Popen(["sleep", "600"])
    try:
        with Supervisor(Console(screen)) as supervisor:
            supervisor.start(python_child("web", tmp_path, "import time; time.sleep(600)"))
        assert elder.poll() is None
    finally:
        elder.kill()
        elder.wait()


def test_a_child_that_keeps_dying_fails_the_start(screen: io.StringIO, tmp_path: Path) -> None:
    with (
        pytest.raises(StartError, match="worker keeps dying while it starts"),
        Supervisor(Console(screen), lambda: Backoff(first=0.01)) as supervisor,
    ):
        supervisor.start(python_child("worker", tmp_path, "print('why'); raise SystemExit(3)"))
        supervisor.wait_until(lambda: "not yet", what="the service", timeout=60)
    assert screen.getvalue().count("worker  | why\n") >= 3
    assert "worker died (exit status 3)" in screen.getvalue()


def test_wrong_settings_are_not_tried_again(screen: io.StringIO, tmp_path: Path) -> None:
    with (
        pytest.raises(StartError, match="worker cannot run with these settings"),
        Supervisor(Console(screen)) as supervisor,
    ):
        supervisor.start(
            python_child("worker", tmp_path, f"raise SystemExit({EXIT_CONFIGURATION})")
        )
        supervisor.wait_until(lambda: "not yet", what="the service", timeout=60)


def test_a_program_that_is_not_there_says_so(screen: io.StringIO, tmp_path: Path) -> None:
    spec = ChildSpec("web", ("/nowhere/program",), tmp_path)
    with (
        pytest.raises(StartError, match="web keeps dying"),
        Supervisor(Console(screen), lambda: Backoff(first=0.01)) as supervisor,
    ):
        supervisor.start(spec)
        supervisor.wait_until(lambda: "not yet", what="the service", timeout=60)
    assert "/nowhere/program cannot be started: No such file or directory" in screen.getvalue()


def test_waiting_ends_with_the_reason_when_time_is_over(
    screen: io.StringIO, tmp_path: Path
) -> None:
    with (
        pytest.raises(StartError, match="the service was not ready after 0 s: no model"),
        Supervisor(Console(screen)) as supervisor,
    ):
        supervisor.start(python_child("web", tmp_path, "import time; time.sleep(600)"))
        supervisor.wait_until(lambda: "no model", what="the service", timeout=0)
