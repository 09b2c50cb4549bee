"""The engine as a child process over a real socket pair, as its worker runs it."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from inference import wire
from inference.protocol import (
    PROTOCOL_VERSION,
    Cancel,
    Delta,
    Drain,
    Drained,
    Exit,
    Failed,
    Finished,
    GetStats,
    Hello,
    Load,
    Loaded,
    LoadFailed,
    LoadProgress,
    Prompt,
    SamplingParams,
    Started,
    Stats,
    Submit,
)
from llamagpu.lib.error_codes import ErrorCode

ROOT = Path(__file__).resolve().parents[3]
TIMEOUT = 90.0


class Child:
    """One engine process and our end of its pipe."""

    def __init__(self) -> None:
        self.channel, theirs = socket.socketpair()
        self.channel.settimeout(TIMEOUT)
        with theirs:
            self.process = subprocess.Popen(
                [
                    sys.executable,
                    "-m",
                    "inference.engine.process",
                    "--channel-fd",
                    str(theirs.fileno()),
                ],
                pass_fds=[theirs.fileno()],
                cwd=ROOT,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )

    def send(self, message: Any) -> None:
        wire.send(self.channel, message)

    def wait_for(self, *kinds: type[Any]) -> Any:
        """The next event of one of `kinds`; others are dropped."""
        while True:
            event = wire.receive(self.channel)
            assert event is not None, self.process.stderr and self.process.stderr.read()
            if isinstance(event, kinds):
                return event

    def load(self, path: Path, **settings: Any) -> Any:
        self.send(Load(str(path), backend="cpu", num_threads=1, **settings))
        return self.wait_for(Loaded, LoadFailed)

    def submit(self, request_id: str, timeout: float = TIMEOUT, **params: Any) -> None:
        fields = {"temperature": 0.0, "ignore_eos": True, **params}
        prompt = Prompt(token_ids=(1, 2, 3))
        self.send(Submit(request_id, prompt, SamplingParams(**fields), timeout))

    def wait_for_exit(self) -> int:
        return self.process.wait(TIMEOUT)

    def close(self) -> None:
        self.channel.close()
        if self.process.poll() is None:
            self.process.kill()
        self.process.communicate()


@pytest.fixture
def child() -> Iterator[Child]:
    engine = Child()
    try:
        yield engine
    finally:
        engine.close()


def test_a_whole_life(child: Child, tiny_model: Path) -> None:
    hello = child.wait_for(Hello)
    assert hello == Hello(child.process.pid, PROTOCOL_VERSION)
    loaded = child.load(tiny_model, num_slots=4, max_model_len=256)
    assert isinstance(loaded, Loaded), loaded
    assert (loaded.architecture, loaded.backend) == ("LlamaForCausalLM", "cpu")
    assert (loaded.max_model_len, loaded.num_slots, loaded.dtype) == (256, 4, "float32")
    assert loaded.weight_bytes == 4 * loaded.num_parameters
    assert loaded.load_time > 0
    assert Path(f"/proc/{hello.pid}/comm").read_text().startswith("llm:")

    child.submit("one", max_tokens=5)
    started = child.wait_for(Started)
    assert (started.request_id, started.prompt_tokens) == ("one", 3)
    text = ""
    while not isinstance(event := child.wait_for(Delta, Finished), Finished):
        text += event.text
    assert (event.text, event.usage.completion_tokens) == (text, 5)

    child.submit("two", max_tokens=250)
    child.wait_for(Delta)
    child.send(Cancel("two"))
    failed = child.wait_for(Failed, Finished)
    assert (failed.request_id, failed.code) == ("two", ErrorCode.CANCELLED)

    child.send(GetStats())
    stats = child.wait_for(Stats)
    assert (stats.requests_total, stats.num_running, stats.num_slots) == (2, 0, 4)
    assert stats.resident_bytes > 50_000_000

    child.submit("three", max_tokens=100)
    child.send(Drain(timeout=60.0))
    child.submit("four")
    ends = [child.wait_for(Finished, Failed, Drained) for _ in range(3)]
    assert {end.request_id: type(end) for end in ends[:2]} == {"four": Failed, "three": Finished}
    assert ends[2] == Drained(0)

    child.send(Exit())
    assert child.wait_for_exit() == 0
    assert child.process.stdout is not None
    assert child.process.stdout.read() == ""


def test_the_end_of_the_pipe_ends_a_busy_engine_at_once(child: Child, tiny_model: Path) -> None:
    child.load(tiny_model)
    child.submit("endless", max_tokens=500)
    child.wait_for(Delta)
    closed = time.monotonic()
    child.channel.close()
    assert child.wait_for_exit() == 0
    assert time.monotonic() - closed < 5


def test_the_end_of_the_pipe_ends_an_engine_that_loads(child: Child, tiny_model: Path) -> None:
    child.wait_for(Hello)
    child.send(Load(str(tiny_model), backend="cpu", num_threads=1))
    child.wait_for(LoadProgress)
    child.channel.close()
    assert child.wait_for_exit() == 0


def test_bytes_that_are_no_frame_end_the_engine(child: Child) -> None:
    child.wait_for(Hello)
    child.channel.sendall(b"\x00\x00\x00\x05hello")
    assert child.wait_for_exit() == 3


def test_an_interrupt_from_the_terminal_is_not_for_the_engine(
    child: Child, tiny_model: Path
) -> None:
    child.load(tiny_model)
    os.kill(child.process.pid, signal.SIGINT)
    child.submit("one", max_tokens=3)
    assert isinstance(child.wait_for(Finished, Failed), Finished)


def test_what_comes_before_the_model_is_answered(child: Child, tiny_model: Path) -> None:
    child.wait_for(Hello)
    child.submit("early")
    assert child.wait_for(Failed).code is ErrorCode.NO_WORKER
    child.send(GetStats())
    assert child.wait_for(Stats).num_slots == 0
    child.send(Drain())
    assert child.wait_for(Drained) == Drained(0)
    child.send(Cancel("early"))
    assert isinstance(child.load(tiny_model), Loaded)
    # A second model is not taken, and does not disturb the first.
    child.send(Load("/nowhere"))
    child.submit("one", max_tokens=3)
    assert isinstance(child.wait_for(Finished, Failed), Finished)


def test_corrupt_weights_are_refused_by_file(
    child: Child, tiny_model: Path, tmp_path: Path
) -> None:
    broken = Path(shutil.copytree(tiny_model, tmp_path / "broken"))
    weights = broken / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1000])
    failed = child.load(broken)
    assert isinstance(failed, LoadFailed)
    assert failed.code is ErrorCode.MODEL_LOAD_FAILED
    assert f"{weights}: truncated" in failed.message
    assert child.wait_for_exit() == 1


@pytest.mark.parametrize(
    ("wrong", "code"),
    [
        ({"num_slots": 0}, ErrorCode.INVALID_INPUT),
        ({"dtype": "int3"}, ErrorCode.INVALID_INPUT),
        ({"prefill_budget": 1}, ErrorCode.INVALID_INPUT),
        ({"max_model_len": -4}, ErrorCode.INVALID_INPUT),
    ],
)
def test_settings_out_of_range_are_refused(
    wrong: dict[str, Any], code: ErrorCode, child: Child, tiny_model: Path
) -> None:
    failed = child.load(tiny_model, **wrong)
    assert isinstance(failed, LoadFailed)
    assert failed.code is code
    assert next(iter(wrong)) in failed.message


def test_a_backend_that_is_not_there_is_refused_with_the_reason(
    child: Child, tiny_model: Path
) -> None:
    child.send(Load(str(tiny_model), backend="rocm"))
    failed = child.wait_for(LoadFailed, Loaded)
    assert isinstance(failed, LoadFailed)
    assert failed.code is ErrorCode.BACKEND_UNAVAILABLE
    assert "ROCm" in failed.message


def test_a_number_that_is_no_socket_is_refused() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "inference.engine.process", "--channel-fd", "77"],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2
    assert "--channel-fd 77 is no socket" in done.stderr
