"""Both doors, with fake engines."""

from __future__ import annotations

import argparse
import io
import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings
from django.core.management import CommandError, call_command

from inference.benchmark import __main__ as module_door
from inference.benchmark import command
from inference.benchmark.engines.base import Setting
from inference.benchmark.machine import limit_cores
from inference.benchmark.options import PEERS, add_arguments, make_peers
from tests.inference.benchmark.fakes import FakeEngine


@pytest.fixture(autouse=True)
def all_cores() -> Iterator[None]:
    """A benchmark keeps its process on few cores; the tests go on with all of them."""
    cores = os.sched_getaffinity(0)
    yield
    os.sched_setaffinity(0, cores)


@pytest.fixture
def fake_engines(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """No engine is started. Reasons put into the result make that engine unavailable."""
    reasons: dict[str, str] = {}

    def make_own(*_: Any, **__: Any) -> FakeEngine:
        return FakeEngine("ours", unavailable=reasons.get("ours", ""))

    def make_others(names: tuple[str, ...], _setting: Setting) -> list[FakeEngine]:
        return [
            FakeEngine(name, unavailable=reasons.get(name, "")) for name in PEERS if name in names
        ]

    monkeypatch.setattr(command, "OwnEngine", make_own)
    monkeypatch.setattr(command, "make_peers", make_others)
    return reasons


def run(*arguments: str) -> dict[str, Any]:
    out = io.StringIO()
    call_command("bench", "--json", "--cores", "1", "--repeat", "1", *arguments, stdout=out)
    found: dict[str, Any] = json.loads(out.getvalue())
    return found


def test_a_whole_benchmark_measures_every_part(fake_engines: dict[str, str]) -> None:
    found = run("--parts", "compare,scale,memory")
    names = [engine["name"] for engine in found["comparison"]["engines"]]
    assert names == ["ours", *PEERS]
    assert len(found["by_length"]) == 6
    assert len(found["by_batch"]) == 7
    assert found["growth"]["num_requests"] == 2000
    assert found["is_complete"]


def test_a_missing_peer_fails_the_command_unless_that_is_allowed(
    fake_engines: dict[str, str],
) -> None:
    fake_engines["vllm"] = "no such package"
    with pytest.raises(SystemExit) as stopped:
        run("--parts", "compare")
    assert stopped.value.code == 1
    found = run("--parts", "compare", "--allow-missing")
    assert not found["is_complete"]
    assert "no such package" in json.dumps(found)


def test_a_part_that_breaks_is_named(fake_engines: dict[str, str]) -> None:
    fake_engines["ours"] = "the model does not fit"
    out = io.StringIO()
    with pytest.raises(SystemExit):
        # Only peers may be missing.
        call_command("bench", "--parts", "memory", "--allow-missing", "--cores", "1", stdout=out)
    assert "FAILED memory: the model does not fit" in out.getvalue()


def test_a_terminated_benchmark_stops_its_engines(
    fake_engines: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    engines: list[FakeEngine] = []

    class Terminated(FakeEngine):
        def run(self, *_: object, **__: object) -> list[Any]:
            os.kill(os.getpid(), signal.SIGTERM)
            return []

    def make(*_: Any, **__: Any) -> FakeEngine:
        engines.append(Terminated("ours"))
        return engines[-1]

    monkeypatch.setattr(command, "OwnEngine", make)
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(SystemExit) as stopped:
        run("--engines", "ours")
    assert stopped.value.code == 128 + signal.SIGTERM
    assert all(engine.is_stopped for engine in engines)
    assert signal.getsignal(signal.SIGTERM) == before


def test_a_folder_without_a_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CommandError, match=r"config\.json"):
        run("--model", str(tmp_path))


def test_the_door_without_django_does_the_same(
    fake_engines: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--parts", "compare", "--engines", "ours", "--cores", "1", "--repeat", "1"]
    assert module_door.main(arguments) == 0
    assert "| ours" in capsys.readouterr().out


def test_engines_are_named_in_the_order_of_the_table(tmp_path: Path) -> None:
    setting = Setting(tmp_path, tmp_path, 1)
    assert [peer.name for peer in make_peers(("vllm", "openvino"), setting)] == ["openvino", "vllm"]


@pytest.mark.parametrize(
    "arguments", [["--engines", "ours,nobody"], ["--repeat", "0"], ["--concurrency", "1,x"]]
)
def test_options_that_mean_nothing_are_refused(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    parser = argparse.ArgumentParser()
    add_arguments(parser, settings.LLAMA)
    with pytest.raises(SystemExit):
        parser.parse_args(arguments)
    assert arguments[0] in capsys.readouterr().err


def test_more_cores_than_there_are_cannot_be_had() -> None:
    with pytest.raises(ValueError, match="1 to"):
        limit_cores(100_000)
    assert len(limit_cores(1)) == 1
