"""The adapters, without any peer: streams, drivers, environments, processes."""

from __future__ import annotations

import http.server
import io
import json
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from inference.benchmark.engines import environment, http_stream
from inference.benchmark.engines.base import EngineUnavailableError, RunFailedError, Setting
from inference.benchmark.engines.driven import DrivenEngine
from inference.benchmark.engines.environment import Environment
from inference.benchmark.engines.http_stream import HttpStreamClient, is_answering, read_events
from inference.benchmark.engines.llama_cpp import LlamaCppEngine
from inference.benchmark.engines.process import MeasuredProcess
from inference.benchmark.figures import summarize
from inference.benchmark.options import PEERS

DRIVERS = Path(environment.__file__).parents[1] / "drivers"


@pytest.fixture
def setting(tmp_path: Path) -> Setting:
    return Setting(tmp_path / "model", tmp_path / "cache", num_threads=1)


# ------------------------------------------------------------------ servers


class _Answer(http.server.BaseHTTPRequestHandler):
    """Streams as many events as the body asks for, in chunks; refuses a prompt without ids."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if not body["prompt"]:
            self.send_error(400, "an empty prompt")
            return
        self.send_response(200)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for _ in range(body["tokens"]):
            self._chunk(b'data: {"tokens": [7]}\n\n')
        self._chunk(b'data: {"tokens": []}\n\ndata: [DONE]\n\n')
        self._chunk(b"")

    def log_message(self, *_: Any) -> None: ...

    def _chunk(self, data: bytes) -> None:
        self.wfile.write(b"%x\r\n%b\r\n" % (len(data), data))


@pytest.fixture
def port() -> Iterator[int]:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Answer) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server.server_address[1]
        server.shutdown()
        thread.join()


def test_a_stream_becomes_a_trace_with_one_arrival_per_token(port: int) -> None:
    client = HttpStreamClient(port, "/completion", lambda event, counted: len(event["tokens"]))
    traces = client.run([{"prompt": [1], "tokens": 5}] * 3, concurrency=2)
    assert [len(trace.arrivals) for trace in traces] == [5, 5, 5]
    assert summarize(traces, prompt_tokens=1, new_tokens=5).num_requests == 3


def test_a_refusal_is_told_with_its_status(port: int) -> None:
    client = HttpStreamClient(port, "/completion", lambda event, counted: len(event))
    with pytest.raises(RunFailedError, match="HTTP 400"):
        client.run([{"prompt": [], "tokens": 1}], concurrency=1)


def test_a_server_that_is_not_there_does_not_answer(port: int) -> None:
    assert is_answering(port, "/health")
    assert not is_answering(1, "/health")


def test_only_data_lines_are_events() -> None:
    stream = io.BytesIO(b': ping\ndata: {"a": 1}\n\ndata: [DONE]\n')
    assert list(read_events(stream)) == [{"a": 1}]


def test_an_event_may_come_in_several_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_stream, "_READ_BYTES", 5)
    stream = io.BytesIO(b'data: {"a": 1}\n\ndata: {"b": 2}\n\n')
    assert list(read_events(stream)) == [{"a": 1}, {"b": 2}]


# ------------------------------------------------------------------ libraries

_DRIVER = """
import sys
sys.path.insert(0, {drivers!r})
from driver_loop import serve

class Driver:
    def __init__(self, order):
        print("a library speaks")
        self.model = order["model"]

    def facts(self):
        return {{"model": self.model}}

    def run(self, prompts, new_tokens, concurrency, now):
        if new_tokens == 13:
            raise ValueError("an unlucky number")
        return [(now(), [(now(), 1)] * new_tokens) for _ in prompts]

serve(Driver)
"""


class _Driven(DrivenEngine):
    name = "driven"
    precision = "none"

    def __init__(self, setting: Setting, script: Path) -> None:
        self.setting = setting
        self.environment = Environment("transformers", setting)
        self.driver = str(script)

    def prepare(self, say: Any) -> None:
        link = self.environment.python
        link.parent.mkdir(parents=True)
        link.symlink_to(sys.executable)

    def model_dir(self) -> Path:
        return self.setting.model_dir


@pytest.fixture
def driven(setting: Setting, tmp_path: Path) -> Iterator[_Driven]:
    script = tmp_path / "driver.py"
    script.write_text(_DRIVER.format(drivers=str(DRIVERS)))
    engine = _Driven(setting, script)
    engine.prepare(lambda _text: None)
    yield engine
    engine.stop()


def test_a_driver_takes_orders_and_what_a_library_prints_is_no_answer(driven: _Driven) -> None:
    about = driven.start(lambda _text: None)
    assert about.facts["model"].endswith("model")
    assert about.version.startswith("transformers ")
    traces = driven.run([[1, 2], [3, 4]], new_tokens=3, concurrency=2)
    assert [trace.num_tokens for trace in traces] == [3, 3]
    assert driven.resident_bytes() > 0


def test_an_order_that_fails_is_told_and_the_driver_lives(driven: _Driven) -> None:
    driven.start(lambda _text: None)
    with pytest.raises(RunFailedError, match="an unlucky number"):
        driven.run([[1]], new_tokens=13, concurrency=1)
    assert len(driven.run([[1]], new_tokens=1, concurrency=1)) == 1


def test_a_driver_that_dies_is_told_with_its_last_words(driven: _Driven) -> None:
    Path(driven.driver).write_text("raise SystemExit('this model cannot be read')")
    with pytest.raises(EngineUnavailableError, match="this model cannot be read"):
        driven.start(lambda _text: None)


# ------------------------------------------------------------------ environments


def test_every_peer_pins_what_it_installs(setting: Setting) -> None:
    for make in PEERS.values():
        pins = make(setting).environment.pinned()  # type: ignore[attr-defined]
        assert pins
        assert all("==" in pin for pin in pins)


def test_an_environment_that_was_made_is_not_made_again(
    setting: Setting, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[list[str]] = []
    made = Environment("vllm", setting, unwanted=("torchvision",))

    def call(command: list[str], *_: Any) -> None:
        calls.append(command)
        made.python.parent.mkdir(parents=True, exist_ok=True)
        made.python.touch()

    monkeypatch.setattr(made, "call", call)
    made.make(lambda _text: None)
    assert [
        word for command in calls for word in command if word in {"venv", "install", "uninstall"}
    ] == ["venv", "install", "uninstall"]
    made.make(lambda _text: None)
    assert len(calls) == 3
    # Other pins are another environment.
    other = Environment("vllm", setting)
    assert other._digest() != made._digest()


def test_an_installation_that_fails_says_why(setting: Setting) -> None:
    made = Environment("vllm", setting)
    command = [sys.executable, "-c", "print('ERROR: no such package'); raise SystemExit(1)"]
    with pytest.raises(EngineUnavailableError, match="no such package"):
        made.call(command, lambda _text: None)


def test_peers_inherit_no_secrets(setting: Setting, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DJANGO_SECRET_KEY", "hidden")
    variables = Environment("vllm", setting).variables()
    assert "hidden" not in variables.values()
    assert variables["HF_HUB_OFFLINE"] == "1"


# ------------------------------------------------------------------ processes


_SLEEP = "import time; time.sleep(60)"
_PARENT = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {_SLEEP!r}])"


@pytest.fixture
def process(tmp_path: Path) -> Iterator[MeasuredProcess]:
    command = [sys.executable, "-c", _PARENT]
    process = MeasuredProcess(command, log_file=tmp_path / "log", environment=dict(os.environ))
    yield process
    process.stop()


def test_a_paused_process_is_off_the_cores_and_its_children_are_gone_at_the_end(
    process: MeasuredProcess,
) -> None:
    leader = psutil.Process(process._popen.pid)
    # A process that is stopped before it became another program keeps its parent from stopping.
    _wait_for(lambda: any(_SLEEP in child.cmdline() for child in leader.children()))
    family = [leader, *leader.children(recursive=True)]

    def num_paused() -> int:
        return sum(one.status() == psutil.STATUS_STOPPED for one in family)

    process.pause()
    _wait_for(lambda: num_paused() == len(family))
    process.resume()
    _wait_for(lambda: num_paused() == 0)
    assert process.resident_bytes() > 0
    process.stop()
    assert psutil.wait_procs(family, timeout=10)[1] == []
    assert process.resident_bytes() == 0


def _wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_llama_cpp_tells_at_the_end_of_a_token_that_no_event_brought(setting: Setting) -> None:
    engine = LlamaCppEngine(setting)
    assert engine.count_tokens({"tokens": [5, 6]}, 0) == 2
    assert engine.count_tokens({"stop": True, "tokens": [], "tokens_predicted": 3}, 2) == 1
    assert engine.count_tokens({"stop": True, "tokens": [], "tokens_predicted": 3}, 3) == 0
