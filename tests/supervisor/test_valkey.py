"""The embedded server: found, private, durable, never doubled."""

from __future__ import annotations

import io
import os
import signal
import stat
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import redis

from llamagpu.lib.config import redis_socket
from llamagpu.supervisor import valkey
from llamagpu.supervisor.child import Child
from llamagpu.supervisor.console import Console
from llamagpu.supervisor.errors import StartError
from llamagpu.supervisor.supervisor import Supervisor
from llamagpu.supervisor.valkey import EmbeddedValkey, check_external, find_server


@contextmanager
def running(data_dir: Path) -> Iterator[redis.Redis]:
    data_dir.mkdir(parents=True, exist_ok=True)
    server = EmbeddedValkey(data_dir, redis_socket(data_dir), find_server())
    with Supervisor(Console(io.StringIO())) as supervisor:
        server.prepare()
        supervisor.start(server.spec)
        supervisor.wait_until(server.obstacle, what="Valkey", timeout=30)
        with redis.Redis(unix_socket_path=str(redis_socket(data_dir))) as client:
            yield client


def mode(path: Path) -> int:
    return stat.S_IMODE(path.lstat().st_mode)


def fake_server(folder: Path, name: str, says: str) -> Path:
    folder.mkdir(exist_ok=True)
    file = folder / name
    file.write_text(f"#!/bin/sh\necho '{says}'\n", encoding="utf-8")
    file.chmod(0o755)
    return file


def test_only_its_user_can_reach_it(tmp_path: Path) -> None:
    with running(tmp_path / "data"):
        socket = redis_socket(tmp_path / "data")
        assert mode(socket) == 0o700
        assert mode(socket.parent) == 0o700
        assert mode(tmp_path / "data" / "valkey") == 0o700


def test_it_never_drops_queued_work_and_listens_on_no_port(tmp_path: Path) -> None:
    with running(tmp_path / "data") as client:
        settings = client.config_get("*")
    assert settings["maxmemory-policy"] == "noeviction"
    assert int(settings["maxmemory"]) == 512 * 1024**2
    assert (settings["port"], settings["appendonly"], settings["appendfsync"]) == (
        "0",
        "yes",
        "everysec",
    )


def test_what_it_holds_survives_a_stop(tmp_path: Path) -> None:
    with running(tmp_path / "data") as client:
        client.set("key", "value")
    with running(tmp_path / "data") as client:
        assert client.get("key") == b"value"


def test_a_folder_with_spaces_and_quotes_is_served(tmp_path: Path) -> None:
    with running(tmp_path / 'my "data" \\ folder') as client:
        assert client.ping()


def test_a_long_data_folder_gets_a_short_private_socket(tmp_path: Path) -> None:
    data_dir = tmp_path / ("long" * 20) / ("longer" * 20)
    with running(data_dir) as client:
        assert client.ping()
        socket = redis_socket(data_dir)
        assert not socket.is_relative_to(data_dir)
        assert mode(socket.parent) == 0o700
    socket.parent.rmdir()


def test_a_stale_socket_is_removed(tmp_path: Path) -> None:
    socket = redis_socket(tmp_path)
    socket.parent.mkdir()
    child = Child(EmbeddedValkey(tmp_path, socket, find_server()).spec, Console(io.StringIO()))
    EmbeddedValkey(tmp_path, socket, find_server()).prepare()
    child.start()
    while not socket.exists():
        assert child.collect() is None
    child.kill()
    while child.collect() is None:
        pass
    assert socket.exists()
    with running(tmp_path) as client:
        assert client.ping()


def test_a_server_that_another_one_started_is_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(valkey, "_OLD_SERVER_TIMEOUT", 0.0)
    with running(tmp_path) as client:
        second = EmbeddedValkey(tmp_path, redis_socket(tmp_path), find_server())
        with pytest.raises(StartError, match="A server that this one did not start answers"):
            second.prepare()
        assert client.ping()


def test_a_trap_in_the_place_of_the_socket_folder_is_refused(tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (tmp_path / "run").symlink_to(elsewhere)
    server = EmbeddedValkey(tmp_path, tmp_path / "run" / "valkey.sock", find_server())
    with pytest.raises(StartError, match="is not a folder of this user"):
        server.prepare()


def test_a_server_on_the_path_comes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ours = fake_server(tmp_path / "bin", "redis-server", "Redis server v=7.0.15 sha=0:0 bits=64")
    monkeypatch.setenv("PATH", str(ours.parent))
    found = find_server()
    assert (found.path, found.kind, found.version) == (ours, "redis", (7, 0))


@pytest.mark.parametrize("says", ["Redis server v=5.0.14 sha=0:0", "what?"])
def test_a_server_that_is_too_old_or_strange_is_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, says: str
) -> None:
    ours = fake_server(tmp_path / "bin", "redis-server", says)
    monkeypatch.setenv("PATH", str(ours.parent))
    assert find_server().path != ours


def test_without_any_server_the_error_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    monkeypatch.setattr(valkey, "_packaged_server", lambda: None)
    with pytest.raises(StartError, match=r"Run `make setup`.*or set REDIS_URL"):
        find_server()


def test_a_server_of_ones_own_must_answer(tmp_path: Path) -> None:
    with running(tmp_path):
        check_external(f"unix://{redis_socket(tmp_path)}")
    with pytest.raises(StartError, match="mend REDIS_URL"):
        check_external(f"unix://{redis_socket(tmp_path)}")
    with pytest.raises(StartError, match="mend REDIS_URL"):
        check_external("no address at all")


def test_it_writes_its_last_bytes_when_the_supervisor_is_killed(tmp_path: Path, run_script) -> None:  # type: ignore[no-untyped-def]
    process: subprocess.Popen[str] = run_script(
        "import io, sys\n"
        "from pathlib import Path\n"
        "from llamagpu.supervisor.console import Console\n"
        "from llamagpu.supervisor.supervisor import Supervisor\n"
        "from llamagpu.supervisor.valkey import EmbeddedValkey, find_server\n"
        "here = Path.cwd()\n"
        "server = EmbeddedValkey(here, here / 'run' / 'valkey.sock', find_server())\n"
        "server.prepare()\n"
        "with Supervisor(Console(io.StringIO())) as supervisor:\n"
        "    supervisor.start(server.spec)\n"
        "    supervisor.wait_until(server.obstacle, what='Valkey', timeout=30)\n"
        "    print('up', flush=True)\n"
        "    supervisor.run()\n"
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "up\n"
    with redis.Redis(unix_socket_path=str(redis_socket(tmp_path))) as client:
        client.set("last", "word")
        os.kill(process.pid, signal.SIGKILL)
    with running(tmp_path) as client:
        assert client.get("last") == b"word"
