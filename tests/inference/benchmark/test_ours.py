"""Our own engine as the benchmark runs it: for real over a tiny model, and as a program that pretends."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from inference.benchmark.engines import ours
from inference.benchmark.engines.base import EngineUnavailableError, RunFailedError, Setting
from inference.benchmark.engines.ours import OwnEngine
from inference.benchmark.figures import summarize
from tests.inference.engine.tiny_models import write_model


@pytest.fixture(scope="module")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("tiny"))


def test_our_engine_brings_all_tokens_of_every_request(tiny_model: Path, tmp_path: Path) -> None:
    setting = Setting(tiny_model, tmp_path, 1, engine_cache_dir=tmp_path / "cache")
    engine = OwnEngine(setting, optimization_level=0, num_slots=2, max_model_len=128)
    try:
        about = engine.start(lambda _text: None)
        traces = engine.run([[1, 2, 3]] * 3, new_tokens=5, concurrency=2)
        assert summarize(traces, prompt_tokens=3, new_tokens=5).num_requests == 3
        assert about.load_time > 0
        assert engine.resident_bytes() > 0
        engine.pause()
        engine.resume()
        with pytest.raises(RunFailedError, match="128"):
            engine.run([[1] * 500], new_tokens=5, concurrency=1)
    finally:
        engine.stop()
    assert engine.resident_bytes() == 0


def test_our_engine_says_why_it_cannot_load(tmp_path: Path) -> None:
    engine = OwnEngine(Setting(tmp_path / "nothing", tmp_path, 1), optimization_level=0)
    with pytest.raises(EngineUnavailableError, match="nothing"):
        engine.start(lambda _text: None)
    engine.stop()


# An engine whose fastest level is there once someone has waited for it.
_PROGRAM = """
import pathlib, socket, sys
from inference import wire
from inference.protocol import GetStats, Loaded, Stats

ready = pathlib.Path({ready!r})
channel = socket.socket(fileno=int(sys.argv[1]))
load = wire.receive(channel)
with open({log!r}, "a") as log:
    log.write(f"{{load.upgrade}}\\n")
level = 3 if ready.exists() else 2
wire.send(channel, Loaded("", "cpu", "cpu", "int8", 1, 1, 1, 1, 1, 0.0, {{"optimization_level": level}}))
while wire.receive(channel):
    if {can_upgrade} and load.upgrade:
        ready.touch()
        level = 3
    wire.send(channel, Stats(0, 0, 0, 0.0, 0, 0, 0, 0, 0.0, 0, optimization_level=level))
"""


def starts_of_pretender(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, can_upgrade: bool, level: int
) -> tuple[int | None, list[str]]:
    """The level that is measured, and the `upgrade` of each start."""
    log = tmp_path / "log"
    program = _PROGRAM.format(ready=str(tmp_path / "ready"), log=str(log), can_upgrade=can_upgrade)
    monkeypatch.setattr(ours, "ENGINE_COMMAND", (sys.executable, "-c", program))
    monkeypatch.setattr(ours, "_PREPARE_PATIENCE", 0.0)
    monkeypatch.setattr(ours, "_POLL", 0.01)
    engine = OwnEngine(Setting(tmp_path, tmp_path, 1), optimization_level=level)
    try:
        about = engine.start(lambda _text: None)
    finally:
        engine.stop()
    return about.level, log.read_text().split()


def test_the_fastest_level_is_prepared_before_anything_is_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    level, starts = starts_of_pretender(tmp_path, monkeypatch, can_upgrade=True, level=-1)
    assert level == 3
    assert starts == ["False", "True", "False"]


def test_what_cannot_be_prepared_is_measured_as_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    level, starts = starts_of_pretender(tmp_path, monkeypatch, can_upgrade=False, level=3)
    assert level == 2
    assert starts == ["False", "True", "False"]


def test_a_lower_level_is_measured_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    level, starts = starts_of_pretender(tmp_path, monkeypatch, can_upgrade=True, level=2)
    assert (level, starts) == (2, ["False"])
