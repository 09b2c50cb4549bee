"""The host of a plugin on other systems than this one: without some walls, under other users."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from plugins_app.host.frames import Frames
from plugins_app.host.sources import with_sources
from tests.plugins_app.stage import OBEDIENT, PATIENCE, order

PROJECT = Path(__file__).parents[3]
HOST = PROJECT / "plugins_app" / "host"
POOR = Path(__file__).with_name("poor_system.py")
LIMITS = {"memory_bytes": 1 << 30, "max_processes": 16, "max_open_files": 64}
EVERYTHING = {"files", "folder", "limits", "network", "processes", "syscalls"}


class Hosted:
    """The worker's end of one host."""

    def __init__(self, channel: socket.socket) -> None:
        self._frames = Frames(channel)

    def load(self, path: Path, folder: Path, python: str, *, walls_required: bool) -> Any:
        order = {
            "slug": "p",
            "path": str(path),
            "config": {},
            "folder": str(folder),
            "packages": [],
            "library": library_of(python),
            "max_output_bytes": 10_000,
            "limits": LIMITS,
            "walls_required": walls_required,
        }
        self._tell(with_sources(order, {path.name: path.read_bytes()}))
        assert self._hear()["pid"] > 0
        return self._hear() | self._hear()

    def call(self, attack: str) -> Any:
        context = {"request_id": "r", "model": "m", "messages": None, "role": ""}
        text = order(attack).text
        self._tell({"id": 1, "hook": "prompt", "context": context | {"text": text}})
        answer = self._hear()
        return answer["result"]["text"] if "result" in answer else answer["raised"]

    def _tell(self, words: Any) -> None:
        self._frames.send(json.dumps(words).encode())

    def _hear(self) -> Any:
        payload = self._frames.receive(1 << 20, time.monotonic() + PATIENCE)
        assert payload is not None
        return json.loads(payload)


def library_of(python: str) -> list[str]:
    script = "import sysconfig; print(*map(sysconfig.get_path, ('stdlib', 'platstdlib')))"
    found = subprocess.run([python, "-I", "-c", script], capture_output=True, text=True, check=True)
    return found.stdout.split()


@contextmanager
def hosted(
    command: Sequence[str | Path], folder: Path, user: int | None = None
) -> Iterator[Hosted]:
    ours, theirs = socket.socketpair()
    process = subprocess.Popen(
        [command[0], "-I", "-S", "-B", command[1], str(theirs.fileno()), *command[2:]],
        pass_fds=[theirs.fileno()],
        stdin=subprocess.PIPE,
        cwd=folder,
        user=user,
        start_new_session=True,
    )
    theirs.close()
    try:
        yield Hosted(ours)
    finally:
        assert process.stdin is not None
        process.stdin.close()
        process.wait(PATIENCE)
        ours.close()


@pytest.fixture
def plugin(tmp_path: Path) -> Path:
    path = tmp_path / "plugin.py"
    path.write_text(OBEDIENT, encoding="utf-8")
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "folder"
    folder.mkdir(mode=0o700)
    return folder


@pytest.mark.parametrize(
    ("missing", "held"),
    [
        (["namespaces"], EVERYTHING - {"folder"}),
        (["seccomp"], EVERYTHING - {"syscalls"}),
        (["landlock"], EVERYTHING - {"files"}),
        (["seccomp", "namespaces"], {"files", "limits"}),
        (["landlock", "seccomp", "namespaces"], {"limits"}),
    ],
)
def test_what_holds_is_what_is_told(
    plugin: Path, folder: Path, missing: list[str], held: set[str]
) -> None:
    with hosted([sys.executable, POOR, *missing], folder) as host:
        loaded = host.load(plugin, folder, sys.executable, walls_required=False)
        assert set(loaded["walls"]) - {"user"} == held
        reads = "return replace(context, text=open('/etc/passwd').read(4))"
        connects = "socket.socket(socket.AF_UNIX); return replace(context, text='open')"
        assert ("PermissionError" in host.call(reads)) == ("files" in held)
        assert ("PermissionError" in host.call(connects)) == ("syscalls" in held)


@pytest.mark.parametrize(
    ("missing", "reason"),
    [
        (["landlock"], "it cannot be kept from files on this system"),
        (["seccomp", "namespaces"], "it cannot be kept from network on this system"),
        (["landlock", "seccomp", "namespaces"], "from files and network"),
    ],
)
def test_without_an_essential_wall_nothing_of_it_runs(
    plugin: Path,
    folder: Path,
    missing: list[str],
    reason: str,
    capfd: pytest.CaptureFixture[str],
) -> None:
    plugin.write_text("print('was here')\n" + OBEDIENT)
    with hosted([sys.executable, POOR, *missing], folder) as host:
        answer = host.load(plugin, folder, sys.executable, walls_required=True)
    assert reason in answer["failed"]
    assert "was here" not in capfd.readouterr().out


@pytest.mark.parametrize("attack", ["os.kill(os.getppid(), 9)", "os.kill({pid}, 0)", "os.fork()"])
def test_without_namespaces_nobody_is_signalled(plugin: Path, folder: Path, attack: str) -> None:
    """As in a container whose runtime forbids them."""
    with hosted([sys.executable, POOR, "namespaces"], folder) as host:
        host.load(plugin, folder, sys.executable, walls_required=True)
        assert host.call(attack.format(pid=os.getpid())).startswith("PermissionError")
        reads = f"open('/proc/{os.getpid()}/environ').read()"
        assert host.call(reads).startswith("PermissionError")


def python_for_all() -> str:
    """One that every user of this machine can run: root's own may lie in its home."""
    own = Path(sys.executable).resolve()
    is_open = all(folder.stat().st_mode & 0o001 for folder in own.parents)
    found = str(own) if is_open else shutil.which("python3", path="/usr/bin")
    assert found is not None, "no Python that another user can run: install python3"
    return found


@pytest.mark.parametrize("uid", [0, 12345])
def test_all_walls_stand_for_root_and_for_anybody(uid: int, tmp_path: Path) -> None:
    """Run by root, as both; else as who runs the tests."""
    uid = uid if os.geteuid() == 0 else os.geteuid()
    python = python_for_all()
    # Where pytest puts its folders only their owner may look.
    shared = Path(f"/tmp/llamagpu-test-{os.getpid()}-{uid}")
    shared.mkdir(mode=0o755)
    try:
        shutil.copytree(PROJECT / "plugins_app", shared / "plugins_app")
        plugin, folder = shared / "plugin.py", shared / "folder"
        plugin.write_text(OBEDIENT, encoding="utf-8")
        plugin.chmod(0o644)
        folder.mkdir(mode=0o700)
        os.chown(folder, uid, -1)
        host_folder = shared / "plugins_app" / "host"
        with hosted([python, host_folder], folder, user=uid) as host:
            loaded = host.load(plugin, folder, python, walls_required=True)
            assert set(loaded["walls"]) == EVERYTHING | ({"user"} if uid == 0 else set())
            assert host.call("return replace(context, text=str(os.getuid()))") == (
                "65534" if uid == 0 else str(uid)
            )
            assert host.call("open('/etc/passwd')").startswith("PermissionError")
            threads = """
                import threading
                try:
                    while True: threading.Thread(target=time.sleep, args=(99,)).start()
                except RuntimeError:
                    return replace(context, text=str(threading.active_count()))
            """
            assert int(host.call(threads)) <= LIMITS["max_processes"]
    finally:
        shutil.rmtree(shared)
