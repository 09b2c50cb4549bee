"""A plugin that raises, hangs, exits or does not clean up harms nobody else."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from plugins_app.base import Hook, PluginRefusal
from plugins_app.runners.base import FaultKind, PluginFaultError, PluginLoadError, RunnerState
from tests.plugins_app.stage import ATTACK, Stage, hostile, order, serves

HANGS = {
    "in Python": "while True: pass",
    "asleep": "time.sleep(1000)",
    "with signals blocked": """
        signal.pthread_sigmask(signal.SIG_BLOCK, range(1, 64))
        for number in range(1, 64):
            try:
                signal.signal(number, signal.SIG_IGN)
            except (OSError, ValueError):
                pass
        time.sleep(1000)
    """,
    "in C with the interpreter's lock": "ctypes.PyDLL(None).sleep(1000)",
    "in an expression": "import re; re.match(r'(a+)+$', 'a' * 60 + 'b')",
}
# No signal at the death of its parent any more.
UNTIE = "ctypes.PyDLL(None).prctl(1, 0)"
ENDS = {
    "os._exit": "os._exit(7)",
    "segmentation fault": "ctypes.string_at(0)",
    "abort": "os.abort()",
    "its own kill": "os.kill(os.getpid(), signal.SIGKILL); os._exit(1)",
}


@pytest.mark.parametrize(
    "error",
    [
        "ValueError('oh')",
        "KeyboardInterrupt()",
        "SystemExit(3)",
        "GeneratorExit()",
        "type('E', (Exception,), {'__str__': lambda self: 1 / 0})()",
        "ValueError('\\ud800' * 10_000_000)",
    ],
)
def test_one_that_raises_only_fails_its_call(stage: Stage, error: str) -> None:
    runner = stage.obedient()
    pid = runner.report().pid
    assert stage.endure_order(f"raise {error}").kind is FaultKind.RAISED
    assert runner.report().pid == pid
    assert runner.report().restarts == 0


def test_an_error_is_told_in_one_bounded_line(stage: Stage) -> None:
    message = str(stage.endure_order("raise ValueError('a\\nb' * 10_000)"))
    assert message.startswith("ValueError: a b")
    assert len(message) <= 500


@pytest.mark.parametrize("attack", HANGS.values(), ids=HANGS.keys())
def test_one_that_hangs_is_ended_and_comes_back(stage: Stage, attack: str) -> None:
    runner = stage.start(hostile(attack), budget={"call_timeout": 1.0})
    hung = psutil.Process(runner.report().pid)
    assert stage.endure(runner, comes_back=True).kind is FaultKind.TIMEOUT
    assert not hung.is_running()
    assert runner.report().restarts == 1


@pytest.mark.parametrize("attack", ENDS.values(), ids=ENDS.keys())
def test_one_that_exits_comes_back(stage: Stage, attack: str) -> None:
    runner = stage.start(hostile(attack))
    assert stage.endure(runner, comes_back=True).kind is FaultKind.DIED


def test_a_refusal_is_no_fault(stage: Stage) -> None:
    with pytest.raises(PluginRefusal, match=r"^not: these words$"):
        stage.obedient().call(Hook.PROMPT, order("raise PluginRefusal('not: these words')"))
    serves(stage.obedient())


@pytest.mark.parametrize(
    "cleanup", ["raise ValueError", "while True: pass", "os._exit(1)", "sys.exit(2)"]
)
def test_one_that_does_not_clean_up_is_ended(stage: Stage, cleanup: str) -> None:
    runner = stage.start(hostile(methods=f"def cleanup(self):\n    {cleanup}"))
    process = psutil.Process(runner.report().pid)
    runner.close(0.5)
    assert not process.is_running()
    assert runner.report().state is RunnerState.CLOSED


def test_one_that_cleans_up_is_given_the_time(
    stage: Stage, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    runner = stage.start(hostile(methods="def cleanup(self):\n    print('all is', 'tidy')"))
    runner.close(30.0)
    assert "all is tidy" in caplog.text


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        (hostile(head="raise ValueError('bad day')"), "ValueError: bad day"),
        (hostile(head="sys.exit()"), "SystemExit"),
        (hostile(head="os._exit(3)"), "ended while it was loaded"),
        (hostile(head="while True: pass"), "not loaded within 1 seconds"),
        (hostile(methods="def initialize(self):\n    return False"), "initialize"),
        (hostile(methods="def initialize(self):\n    return None"), "initialize"),
        (hostile(methods="def initialize(self):\n    time.sleep(99)"), "not loaded within 1 sec"),
        (hostile(head="def broken(:"), "SyntaxError"),
        ("x = 1", "defines 0 plugins"),
        (hostile() + "\nclass Second(Hostile): pass", "defines 2 plugins"),
    ],
)
def test_one_that_cannot_be_loaded_says_why(stage: Stage, source: str, reason: str) -> None:
    is_slow = "within" in reason
    budget = {"start_timeout": 1.0} if is_slow else {}
    before = {child.pid for child in psutil.Process().children(recursive=True)}
    with pytest.raises(PluginLoadError, match=reason):
        stage.start(source, budget=budget)
    after = {child.pid for child in psutil.Process().children(recursive=True)}
    assert after <= before


def test_one_that_always_dies_stays_away_at_last(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    runner = stage.start(hostile("os._exit(1)"))
    monkeypatch.setattr(type(runner), "_may_restart", lambda self: self._num_restarts < 2)
    for _ in range(2):
        with pytest.raises(PluginFaultError):
            runner.call(Hook.PROMPT, ATTACK)
        stage.await_event(runner, "restarted")
    with pytest.raises(PluginFaultError):
        runner.call(Hook.PROMPT, ATTACK)
    stage.await_event(runner, "failed")
    report = runner.report()
    assert (report.state, report.pid) == (RunnerState.FAILED, None)
    with pytest.raises(PluginFaultError, match="not started again") as caught:
        runner.call(Hook.PROMPT, ATTACK)
    assert caught.value.kind is FaultKind.UNAVAILABLE


def test_nothing_of_it_outlives_the_worker(tmp_path: Path) -> None:
    """A worker that is killed takes its plugins along, also one that has stopped listening."""
    script = tmp_path / "worker.py"
    (tmp_path / "plugins").mkdir()
    script.write_text(
        "import sys, threading, time\n"
        "from pathlib import Path\n"
        "from plugins_app.base import Hook\n"
        "from tests.plugins_app.stage import Stage, hostile, ATTACK\n"
        f"UNTIE = {UNTIE!r}\n"
        "folder = Path(sys.argv[1])\n"
        "runner = Stage(folder).start(hostile('time.sleep(1000)', UNTIE),"
        " budget={'call_timeout': 1000.0})\n"
        "threading.Thread(target=runner.call, args=(Hook.PROMPT, ATTACK), daemon=True).start()\n"
        "print(runner.report().pid, flush=True)\n"
        "time.sleep(1000)\n"
    )
    worker = subprocess.Popen(
        [sys.executable, str(script), str(tmp_path / "plugins")],
        stdout=subprocess.PIPE,
        env={"PYTHONPATH": str(Path(__file__).parents[3])},
        text=True,
    )
    assert worker.stdout is not None
    plugin = psutil.Process(int(worker.stdout.readline()))
    warden = plugin.parent()
    assert warden is not None
    folder = Path(warden.cwd())
    assert folder.name.startswith("llamagpu-plugin-")
    worker.kill()
    worker.wait()
    worker.stdout.close()
    _, alive = psutil.wait_procs([plugin, warden], timeout=30)
    assert alive == []
    assert not folder.exists()


def test_a_killed_warden_takes_its_plugin_along(stage: Stage) -> None:
    runner = stage.start(hostile(head=UNTIE))
    plugin = psutil.Process(runner.report().pid)
    warden = plugin.parent()
    assert warden is not None
    warden.kill()
    stage.await_event(runner, "restarted")
    _, alive = psutil.wait_procs([plugin], timeout=30)
    assert alive == []
    serves(runner)
