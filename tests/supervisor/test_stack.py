"""Addresses, readiness and the lines for a person."""

from __future__ import annotations

import http.server
import json
import shlex
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from django.conf import settings

from llamagpu.supervisor.data_lock import DataLock
from llamagpu.supervisor.errors import StartError
from llamagpu.supervisor.preparation import FirstAdmin
from llamagpu.supervisor.readiness import ReadinessProbe, reachable_host
from llamagpu.supervisor.stack import check_address_is_free, monitor_spec, web_spec, worker_spec
from llamagpu.supervisor.welcome import base_url, welcome

EVERY_ADDRESS = "0.0.0.0"  # noqa: S104 - nothing is bound to it here


@contextmanager
def answering(status: int, body: object) -> Iterator[tuple[int, list[str]]]:
    """A server with one answer; yields its port and the Host headers that it got."""
    hosts: list[str] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            hosts.append(self.headers["Host"])
            data = json.dumps(body).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, format: str, *arguments: object) -> None:
            """Silence."""

    with http.server.HTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_address[1], hosts
        server.shutdown()


def test_a_port_in_use_is_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(
            StartError, match=rf"Port {port} on 127\.0\.0\.1 is in use .* LLAMA_PORT"
        ):
            check_address_is_free("127.0.0.1", port)
    check_address_is_free("127.0.0.1", port)


def test_an_address_of_another_machine_is_refused() -> None:
    with pytest.raises(StartError, match="LLAMA_HOST"):
        check_address_is_free("192.0.2.1", 5000)


def test_one_supervisor_per_data_folder(tmp_path: Path) -> None:
    with (
        DataLock(tmp_path),
        pytest.raises(StartError, match=r"process \d+\) already serves .*LLAMA_DATA_DIR"),
    ):
        DataLock(tmp_path).__enter__()
    with DataLock(tmp_path):
        pass


def test_a_data_folder_that_is_a_file_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.touch()
    with pytest.raises(StartError, match="cannot be used: File exists"):
        DataLock(file).__enter__()


def test_ready_means_no_obstacle() -> None:
    with answering(200, {"status": "ready"}) as (port, hosts):
        assert ReadinessProbe("127.0.0.1", port, ["localhost"]).obstacle() == ""
        assert ReadinessProbe(EVERY_ADDRESS, port, [".example.org"]).obstacle() == ""
    assert hosts == ["localhost", "example.org"]


def test_the_reasons_are_passed_on() -> None:
    with answering(503, {"reasons": ["worker: none is alive", "model: missing"]}) as (port, _):
        probe = ReadinessProbe("127.0.0.1", port, ["*"])
        assert probe.obstacle() == "worker: none is alive; model: missing"
    assert probe.obstacle() == "the web server does not answer yet"


def test_an_answer_that_is_not_ours_is_no_readiness() -> None:
    with answering(404, ["other"]) as (port, _):
        assert "404" in ReadinessProbe("127.0.0.1", port, ["*"]).obstacle()


@pytest.mark.parametrize(
    ("bound", "reachable"),
    [(EVERY_ADDRESS, "127.0.0.1"), ("::", "::1"), ("[::1]", "::1"), ("gpu1", "gpu1")],
)
def test_a_wildcard_is_reached_over_loopback(bound: str, reachable: str) -> None:
    assert reachable_host(bound) == reachable


def test_the_url_names_the_public_address_where_there_is_one() -> None:
    assert base_url(settings.LLAMA, "::", 80) == "http://[::1]:80"
    public = replace(settings.LLAMA, public_url="https://llm.example.org")
    assert base_url(public, EVERY_ADDRESS, 5000) == "https://llm.example.org"


def test_the_first_curl_is_one_line_for_a_shell(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LLAMA_DATA_DIR", "/data with space")
    text = welcome(
        "http://127.0.0.1:5000", FirstAdmin("admin", "/data/password"), Path("/srv/my portal")
    )
    assert "first password in /data/password" in text
    assert text.splitlines()[-1] == "ready"
    line = next(line for line in text.splitlines() if "curl" in line).split("Try it")[1]
    words = shlex.split(line)
    assert words[:3] == ["curl", "-s", "http://127.0.0.1:5000/api/infer"]
    assert json.loads(words[-1]) == {"text": "What is the capital of France?", "temperature": 0}
    assert "$(LLAMA_DATA_DIR='/data with space' " in line
    assert "'/srv/my portal/manage.py' key create --user admin --name first-curl)" in line


def test_children_see_the_address_of_the_command_line() -> None:
    config = replace(settings.LLAMA, trusted_proxy=True)
    web = web_spec(config, base_dir=Path("/srv"), host=EVERY_ADDRESS, port=8080)
    assert web.environment == {"LLAMA_HOST": EVERY_ADDRESS, "LLAMA_PORT": "8080"}
    assert "llamagpu.web_server" in web.command
    assert "--proxy-headers" not in web.command, (
        "it would believe the first address, the caller's own"
    )
    worker = worker_spec(config, base_dir=Path("/srv"), port=8080)
    assert worker.command[worker.command.index("--pool") + 1] == "threads"
    monitor = monitor_spec(base_dir=Path("/srv"))
    assert monitor.command[-2:] == ("manage.py", "monitor")
    assert worker.stop_grace + web.stop_grace + monitor.stop_grace < 9
