"""A plugin that forks, floods, eats memory, processor or disk harms nobody else."""

from __future__ import annotations

from pathlib import Path

import psutil
import pytest

from plugins_app.base import Hook
from plugins_app.runners import isolated
from plugins_app.runners.base import FaultKind
from plugins_app.runners.output_log import MAX_LINES
from tests.plugins_app.stage import PATIENCE, Stage, answer_to, hostile, order

FORKS = {
    "fork bomb": "while True: os.fork()",
    "double fork into a session of its own": """
        if os.fork() == 0:
            os.setsid()
            os.fork()
            time.sleep(1000)
        raise ValueError
    """,
    "subprocess": "import subprocess; subprocess.Popen(['sleep', '1000'])",
    "another Python": "import subprocess; subprocess.Popen([sys.executable, '-c', 'input()'])",
    "becoming another program": "os.execv('/bin/sh', ['sh'])",
    "multiprocessing": """
        import multiprocessing
        multiprocessing.get_context('fork').Process(target=time.sleep, args=(1000,)).start()
    """,
}


@pytest.mark.parametrize("attack", FORKS.values(), ids=FORKS.keys())
def test_one_that_forks_starts_nothing(stage: Stage, attack: str) -> None:
    assert stage.endure_order(attack).kind is FaultKind.RAISED
    assert psutil.Process(stage.obedient().report().pid).children() == []


def test_a_bomb_of_threads_ends_with_its_process(stage: Stage) -> None:
    attack = """
        import threading
        while True:
            threading.Thread(target=time.sleep, args=(1000,), daemon=True).start()
    """
    runner = stage.start(hostile(attack), budget={"call_timeout": 1.0})
    bomb = psutil.Process(runner.report().pid)
    fault = stage.endure(runner)
    assert fault.kind in (FaultKind.RAISED, FaultKind.TIMEOUT)
    runner.close(0.1)
    assert not bomb.is_running()


def test_one_that_eats_memory_gets_none(stage: Stage) -> None:
    attack = "eaten = [bytearray(1 << 20) for _ in range(100_000)]"
    runner = stage.start(hostile(attack), budget={"memory_bytes": 200 << 20})
    fault = stage.endure(runner)
    assert (fault.kind, str(fault)) == (FaultKind.RAISED, "MemoryError:")
    resident = runner.report().resident_bytes
    assert resident is not None
    assert resident < 200 << 20


FLOODS = {
    "lines": "while True: print('x' * 70)",
    "one endless line": "while True: print('x' * 100_000, end='')",
    "errors": "while True: sys.stderr.write('oh no\\n')",
    "the descriptor itself": "while True: os.write(1, b'\\x1b[2J\\xff\\n' * 10_000)",
}


@pytest.mark.parametrize("attack", FLOODS.values(), ids=FLOODS.keys())
def test_one_that_floods_its_output_is_slowed_and_cut(
    stage: Stage, attack: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    runner = stage.start(hostile(attack), budget={"call_timeout": 1.5})
    assert stage.endure(runner, comes_back=True).kind is FaultKind.TIMEOUT
    lines = [r.getMessage() for r in caplog.records if r.name.endswith("output_log")]
    shown = [line for line in lines if line.startswith(f"plugin '{runner.spec.slug}'")]
    assert 0 < len(shown) <= 12 * (MAX_LINES + 1)  # as many seconds as a slow machine may need
    assert max(map(len, shown)) < 600
    assert all(line.isprintable() for line in shown)


def test_one_that_works_on_without_a_call_is_ended(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(isolated, "IDLE_CPU_SECONDS", 0.2)
    head = """
        import threading
        def spin():
            while True: pass
        threading.Thread(target=spin, daemon=True).start()
    """
    runner = stage.start(hostile(head=head))
    spinning = psutil.Process(runner.report().pid)
    while not stage.has_event(runner):
        runner.report()
    assert not spinning.is_running()
    assert "it worked on while nobody called it" in caplog.text


DISK = {
    "one large file": """
        with open('large', 'wb') as file:
            while True: file.write(b'x' * (1 << 20))
    """,
    "many files": """
        for number in range(100_000):
            with open(f'f{number}', 'wb') as file: file.write(b'x' * 4096)
    """,
}


@pytest.mark.parametrize("attack", DISK.values(), ids=DISK.keys())
def test_one_that_fills_the_disk_fills_its_own_folder(stage: Stage, attack: str) -> None:
    assert "folder" in stage.obedient().report().isolation
    assert "Errno" in str(stage.endure_order(attack))
    stage.obedient().call(
        Hook.PROMPT, order("[os.unlink(name) for name in os.listdir()]; return context")
    )


def test_its_folder_is_empty_and_its_own_and_goes_with_it(stage: Stage) -> None:
    runner = stage.start(
        hostile(
            "open('kept', 'w').write('secret'); return replace(context, text=os.getcwd())",
            head="assert os.listdir() == []",
        )
    )
    folder = Path(answer_to(runner))
    fault = stage.endure_order(f"os.listdir({str(folder)!r})")
    assert str(fault).startswith(("PermissionError", "FileNotFoundError"))
    assert list(folder.iterdir()) == []  # seen from outside its own file system
    runner.close(PATIENCE)
    assert not folder.exists()


def test_descriptors_run_out_for_itself_alone(stage: Stage) -> None:
    attack = "kept = [open('/dev/null') for _ in range(10_000)]"
    assert "Too many open files" in str(stage.endure_order(attack))
