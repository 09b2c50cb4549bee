"""A plugin reaches no file, no process and no network of the portal's. Each wall is tried alone.

Linux as the tests need it: Landlock, seccomp and namespaces. Where a wall is missing it is not held
up as one: `isolation` says what holds, and the last tests here see to that.
"""

from __future__ import annotations

import os
import re
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from plugins_app.host.walls import Wall
from plugins_app.runners.base import FaultKind, PluginLoadError
from tests.plugins_app.stage import Stage, answer_to, hostile, order, serves

PROJECT = Path(__file__).parents[3]
DENIED = re.compile("PermissionError|FileNotFoundError|NotADirectoryError")


@pytest.fixture
def listener(tmp_path: Path) -> Iterator[dict[str, str]]:
    """Servers such as the portal's own: on TCP and on a Unix socket, reachable for everybody."""
    path = tmp_path / "valkey.sock"
    with socket.create_server(("127.0.0.1", 0)) as tcp, socket.socket(socket.AF_UNIX) as unix:
        unix.bind(str(path))
        unix.listen()
        path.chmod(0o777)
        yield {"port": str(tcp.getsockname()[1]), "path": str(path)}


def test_all_walls_stand_where_the_kernel_has_them(stage: Stage) -> None:
    expected = {Wall.FILES, Wall.FOLDER, Wall.LIMITS, Wall.NETWORK, Wall.PROCESSES, Wall.SYSCALLS}
    held = set(stage.start(hostile()).report().isolation)
    assert held - {Wall.USER} == expected


FORGE = """
import json, stat, struct
for fd in range(3, 4096):
    try:
        is_channel = stat.S_ISSOCK(os.fstat(fd).st_mode)
    except OSError:
        continue
    if is_channel:
        words = {words!r}.encode()
        os.write(fd, struct.pack(">I", len(words)) + words)
"""


@pytest.mark.parametrize(
    "words", ['{"loaded": true}', '{"walls": ["moat"]}', '{"loaded": ["moat"]}']
)
def test_a_plugin_does_not_say_which_walls_it_has(stage: Stage, words: str) -> None:
    """It speaks on the channel in its host's place, before the host does."""
    try:
        runner = stage.start(hostile(head=FORGE.format(words=words)))
    except PluginLoadError as error:
        assert "spoke out of turn" in str(error)
    else:
        assert words == '{"loaded": true}'
        held = runner.report().isolation
        assert "files" in held
        assert "moat" not in held


@pytest.mark.parametrize(
    "target",
    [
        "/etc/passwd",
        "/etc/shadow",
        "/proc/self/environ",
        "/proc/1/environ",
        "/proc/{pid}/environ",
        "/proc/{pid}/mem",
        "/proc/{parent}/cmdline",
        "/proc/self/root/etc/passwd",
        "/proc/{pid}/root/etc/passwd",
        "/dev/mem",
        str(PROJECT / "llamagpu" / "settings.py"),
        str(PROJECT / "plugins_app" / "registry.py"),
        str(PROJECT / "manage.py"),
        "../../../../etc/passwd",
    ],
)
def test_no_file_outside_is_read(stage: Stage, target: str) -> None:
    path = target.format(pid=os.getpid(), parent=os.getppid())
    assert DENIED.match(str(stage.endure_order(f"open({path!r}, 'rb').read(10)")))


@pytest.mark.parametrize(
    "attack",
    [
        "open({target!r} + '/new', 'w')",
        "open({target!r} + '/kept', 'a')",
        "os.truncate({target!r} + '/kept', 0)",
        "os.unlink({target!r} + '/kept')",
        "os.rename({target!r} + '/kept', 'mine')",
        "os.link({target!r} + '/kept', 'mine')",
        "os.mkdir({target!r} + '/new')",
        "os.listdir({target!r})",
        "os.symlink({target!r} + '/kept', 'mine'); open('mine').read()",
        "os.mkfifo('pipe')",
        "os.mknod('device', 0o60600, os.makedev(8, 0))",
        "open(os.path.dirname(__file__) + '/new', 'w')",
        "open(__file__, 'a')",
    ],
)
def test_no_file_outside_is_changed(stage: Stage, tmp_path: Path, attack: str) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "kept").write_text("kept", encoding="ascii")
    fault = stage.endure_order(attack.format(target=str(outside)))
    assert (fault.kind, "Error" in str(fault)) == (FaultKind.RAISED, True)
    assert [file.read_text() for file in outside.iterdir()] == ["kept"]


def test_another_plugins_files_are_not_read(stage: Stage) -> None:
    other = stage.spec(hostile())
    assert "PermissionError" in str(stage.endure_order(f"open({str(other.path)!r})"))


def test_its_own_files_and_the_library_are_read(stage: Stage) -> None:
    reads = """
        import colorsys, msgspec, sqlite3, ssl, zoneinfo
        open('note', 'w').write('x'); os.rename('note', 'n'); os.unlink('n'); os.mkdir('d')
        sqlite3.connect(':memory:').execute('select 1')
        os.urandom(1); zoneinfo.ZoneInfo('UTC'); open(os.devnull, 'w').write('x')
        return replace(context, text=open(__file__).read(10).strip())
    """
    assert answer_to(stage.obedient(), order(reads)).startswith("import")


def test_the_portal_cannot_be_imported(stage: Stage) -> None:
    for module in ("llamagpu.settings", "plugins_app.registry", "plugins_app.spec", "manage"):
        assert "ModuleNotFoundError" in str(stage.endure_order(f"import {module}"))


def test_the_environment_holds_no_secret(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DJANGO_SECRET_KEY", "not for plugins")
    runner = stage.start(hostile("return replace(context, text=' '.join(sorted(os.environ)))"))
    assert answer_to(runner) == "HOME LANG TMPDIR"


def test_nothing_is_inherited_but_its_channel(stage: Stage) -> None:
    with Path("/etc/passwd").open() as kept:
        os.set_inheritable(kept.fileno(), True)
        runner = stage.start(
            hostile(
                """
                kinds = []
                for number in range(1024):
                    try:
                        mode = os.fstat(number).st_mode
                    except OSError:
                        continue
                    kinds.append({0o010000: 'pipe', 0o020000: 'null', 0o140000: 'socket'}
                        .get(mode & 0o170000, 'file'))
                return replace(context, text=' '.join(kinds))
                """
            )
        )
        # Standard input, output and errors, the channel, and the pipe that tells of its end.
        assert sorted(answer_to(runner).split()) == ["null", "pipe", "pipe", "pipe", "socket"]


NETWORK = {
    "TCP": "socket.create_connection(('127.0.0.1', {port}), timeout=5)",
    "UDP": "socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b'x', ('127.0.0.1', {port}))",
    "a Unix socket": "socket.socket(socket.AF_UNIX).connect({path!r})",
    "an abstract socket": "socket.socket(socket.AF_UNIX).bind('\\0mine')",
    "netlink": "socket.socket(socket.AF_NETLINK, socket.SOCK_RAW)",
    "a server": "socket.create_server(('127.0.0.1', 0))",
    "a name": "socket.getaddrinfo('localhost', 80) and socket.gethostbyname('example.com')",
    "io_uring": "res = ctypes.CDLL(None, use_errno=True).syscall(425, 4, ctypes.create_string_buffer(120))\n"
    "if res < 0: raise OSError(ctypes.get_errno(), 'io_uring')",
}


@pytest.mark.parametrize("attack", NETWORK.values(), ids=NETWORK.keys())
def test_nothing_is_reached_over_the_network(
    stage: Stage, listener: dict[str, str], attack: str
) -> None:
    fault = stage.endure_order(attack.format(port=listener["port"], path=listener["path"]))
    assert re.match("PermissionError|OSError|gaierror", str(fault))


@pytest.mark.parametrize(
    "attack",
    [
        "os.kill({pid}, 0)",
        "os.kill(os.getppid() or {pid}, signal.SIGKILL)",
        "os.kill(-1, signal.SIGTERM)",
        "os.killpg({group}, 0)",
        "import resource; resource.prlimit({pid}, resource.RLIMIT_NOFILE, (1, 1))",
        "os.setpriority(os.PRIO_USER, os.getuid(), 19)",
        "os.sched_setaffinity({pid}, {{0}})",
        "os.setuid(0); os.setgroups([0])",
        "os.chroot('.')",
        "import resource; resource.setrlimit(resource.RLIMIT_AS, (-1, -1))",
    ],
)
def test_no_process_outside_is_touched(stage: Stage, attack: str) -> None:
    fault = stage.endure_order(attack.format(pid=os.getpid(), group=os.getpgid(0)))
    assert re.match("PermissionError|ProcessLookupError|ValueError", str(fault))


@pytest.mark.parametrize("number", [101, 310, 272, 165, 308, 321, 298, 434, 438, 59, 322, 57, 58])
def test_no_forbidden_call_is_answered(stage: Stage, number: int) -> None:
    attack = f"""
        libc = ctypes.CDLL(None, use_errno=True)
        result = libc.syscall({number}, 0, 0, 0, 0, 0)
        return replace(context, text=f"{{result}} {{ctypes.get_errno()}}")
    """
    assert answer_to(stage.obedient(), order(attack)) == "-1 1"


def test_its_settings_are_its_own(stage: Stage) -> None:
    runner = stage.start(
        hostile("self.config['a'].append(1); return replace(context, text=str(self.config))"),
        config={"a": []},
    )
    assert answer_to(runner) == "{'a': [1]}"
    assert runner.spec.config == {"a": []}
    serves(runner)
