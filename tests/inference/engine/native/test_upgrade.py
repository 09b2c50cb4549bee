"""An engine that goes over to the fast path while it serves, or has reasons not to."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from inference.engine.backends import cpu
from inference.engine.backends.cpu import CpuBackend
from inference.engine.errors import LoadError
from inference.engine.native.artifact import (
    Qualification,
    artifact_file,
    open_artifact,
    write_artifact,
)
from inference.engine.native.library import KernelLibrary
from inference.engine.native.upgrade import Preparation
from inference.engine.quality.child import reach_level
from inference.engine.quality.comparison import PERPLEXITY_LIMIT
from inference.model_files import read_model_files
from inference.protocol import Finished
from tests.inference.engine.harness import Harness, running_engine
from tests.inference.engine.native.packed_models import pack_model, random_ids
from tests.inference.engine.quality.models import load

MAX_TOKENS = 60
PATIENCE = 120.0


@pytest.fixture
def cache(kernel_cache: Path, tmp_path: Path) -> Path:
    """A folder with compiled kernels and no packed model."""
    shutil.copytree(kernel_cache / "kernels", tmp_path / "cache" / "kernels")
    return tmp_path / "cache"


def qualify(library: KernelLibrary, model: Path, cache: Path, ratio: float) -> None:
    """Pack a model as if it had been measured with this ratio of perplexities."""
    packed = pack_model(library, model).artifact
    file = artifact_file(cache, read_model_files(model))
    write_artifact(file, packed.shape, packed.tensors, Qualification(ratio, 0.9, 1000))


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, "it did not come about"
        time.sleep(0.05)


def finish_whole(engine: Harness, request_id: str) -> Finished:
    finished = engine.finish(request_id)
    assert finished.usage.completion_tokens == MAX_TOKENS
    assert engine.num_left(request_id) == 0, "something came after the end"
    return finished


def test_requests_run_on_while_the_engine_goes_over(
    quick_model: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # At the lowest priority it would take as long as whatever else this machine does.
    monkeypatch.setattr(cpu, "Preparation", partial(Preparation, nice=0))
    with running_engine(quick_model, optimization_level=None, cache_dir=str(cache)) as engine:
        backend = engine.running.backend
        assert backend.optimization_level == 2
        engine.running.begin_upgrade()
        prompts = [random_ids(20 + 9 * seed, seed) for seed in range(6)]
        running = [engine.send(prompt, max_tokens=MAX_TOKENS) for prompt in prompts]
        deadline, num_finished, num_after = time.monotonic() + PATIENCE, 0, 0
        while num_after < 2 * len(prompts):
            # Whoever is done is followed by the next, so that some always run.
            finish_whole(engine, running.pop(0))
            running.append(engine.send(prompts[num_finished % 6], max_tokens=MAX_TOKENS))
            num_finished += 1
            num_after += backend.optimization_level == 3
            assert time.monotonic() < deadline, "it did not go over"
            time.sleep(0.2)
        for request_id in running:
            finish_whole(engine, request_id)
        assert num_finished > num_after, "nobody was served before"
        upgraded = engine.ask_all(prompts, max_tokens=MAX_TOKENS)
    with running_engine(quick_model, optimization_level=3, cache_dir=str(cache)) as engine:
        # What was prepared is used from the start, and says the same.
        assert engine.running.backend.optimization_level == 3
        assert engine.ask_all(prompts, max_tokens=MAX_TOKENS) == upgraded
        assert not engine.running.backend.begin_upgrade(engine.engine.preempt_all)


def test_a_request_that_the_change_falls_into_loses_nothing(
    quick_model: Path, prepared_cache: Path
) -> None:
    with running_engine(quick_model, optimization_level=0, cache_dir=str(prepared_cache)) as engine:
        backend = engine.running.backend
        ids = [engine.send(random_ids(40, seed), max_tokens=MAX_TOKENS) for seed in range(4)]
        changed: list[int] = []

        def change() -> None:
            backend.set_optimization_level(3)
            changed.append(backend.optimization_level)

        # From the loop's own thread, in the midst of an answer.
        seen = iter(range(10_000))
        engine.on_event = lambda event: (
            engine.engine.preempt_all(change) if next(seen) == 40 else None
        )
        texts = [finish_whole(engine, request_id).text for request_id in ids]
        assert backend.optimization_level == 3
        assert changed == [3]
        assert all(texts)


def test_without_a_compiler_one_warning_is_logged_and_serving_goes_on(
    quick_model: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setenv("CXX", "/nonexistent")
    settings = {"optimization_level": None, "cache_dir": str(tmp_path / "cache")}
    with running_engine(quick_model, **settings) as engine:
        engine.running.begin_upgrade()
        wait_until(lambda: any(record.levelname == "WARNING" for record in caplog.records))
        finish_whole(engine, engine.send([1, 2, 3], max_tokens=MAX_TOKENS))
        assert engine.running.backend.optimization_level == 2
    [warning] = [record for record in caplog.records if record.levelname == "WARNING"]
    assert "the fast path is not available, serving goes on without" in warning.getMessage()
    assert "no C++ compiler was found (/nonexistent)" in warning.getMessage()


def test_what_is_prepared_serves_from_the_start(quick_model: Path, prepared_cache: Path) -> None:
    for level in (None, 3):
        with running_engine(
            quick_model, optimization_level=level, cache_dir=str(prepared_cache)
        ) as engine:
            assert engine.running.backend.optimization_level == 3
            assert engine.running.describe(0.0).capabilities["optimization_level"] == 3
            finish_whole(engine, engine.send([1, 2, 3], max_tokens=MAX_TOKENS))


def test_what_is_not_good_enough_serves_only_who_asks_for_it(
    quick_model: Path, cache: Path, library: KernelLibrary, caplog: pytest.LogCaptureFixture
) -> None:
    qualify(library, quick_model, cache, ratio=1.02)
    with running_engine(quick_model, optimization_level=None, cache_dir=str(cache)) as engine:
        backend = engine.running.backend
        assert backend.optimization_level == 2
        # It is not measured again at every start.
        assert not backend.begin_upgrade(engine.engine.preempt_all)
    assert "1.020 times as perplexed as float32" in caplog.text
    with running_engine(quick_model, optimization_level=3, cache_dir=str(cache)) as engine:
        assert engine.running.backend.optimization_level == 3
        finish_whole(engine, engine.send([1, 2, 3], max_tokens=MAX_TOKENS))


@pytest.mark.parametrize("ratio", [0.97, 1.0, 1.01])
def test_what_is_good_enough_serves_unasked(
    ratio: float, quick_model: Path, cache: Path, library: KernelLibrary
) -> None:
    qualify(library, quick_model, cache, ratio)
    backend, _ = load(quick_model, optimization_level=None, cache_dir=str(cache))
    assert backend.optimization_level == 3
    backend.close()


@pytest.mark.parametrize(
    "asked",
    [
        {"optimization_level": 0},
        {"optimization_level": 1},
        {"optimization_level": 2},
        {"optimization_level": None, "dtype": "float32"},
    ],
)
def test_who_asked_for_something_else_keeps_it(
    asked: dict[str, object], quick_model: Path, prepared_cache: Path
) -> None:
    backend, _ = load(quick_model, cache_dir=str(prepared_cache), **asked)
    assert backend.optimization_level < 3
    assert not backend.begin_upgrade(lambda then: then())


def test_a_damaged_packed_model_is_as_good_as_none(
    quick_model: Path, cache: Path, library: KernelLibrary
) -> None:
    qualify(library, quick_model, cache, ratio=1.0)
    file = artifact_file(cache, read_model_files(quick_model))
    file.write_bytes(file.read_bytes()[:-100])
    backend, _ = load(quick_model, optimization_level=None, cache_dir=str(cache))
    assert backend.optimization_level == 2


def test_levels_go_up_and_never_down(quick_model: Path, prepared_cache: Path) -> None:
    backend, _ = load(quick_model, optimization_level=0, cache_dir=str(prepared_cache))
    for level in (0, 1, 2, 3):
        backend.set_optimization_level(level)
        assert backend.optimization_level == level
        for lower in range(level):
            with pytest.raises(LoadError, match="load the model again"):
                backend.set_optimization_level(lower)
    backend.close()


def test_a_level_that_does_not_exist_is_refused(quick_model: Path) -> None:
    backend, _ = load(quick_model, optimization_level=0)
    with pytest.raises(LoadError, match="cannot become 4"):
        backend.set_optimization_level(4)
    with pytest.raises(LoadError, match="load the model again"):
        CpuBackend().set_optimization_level(1)


@pytest.mark.parametrize("level", [None, 3])
def test_what_the_quality_gate_measures_is_what_will_serve(
    level: int | None, quick_model: Path, cache: Path
) -> None:
    backend, _ = load(quick_model, optimization_level=level, cache_dir=str(cache))
    assert backend.optimization_level == 2, "nothing was prepared"
    reach_level(backend, level)
    packed = open_artifact(artifact_file(cache, read_model_files(quick_model)))
    assert packed is not None, "it was prepared meanwhile"
    assert packed.qualification is not None
    is_good = packed.qualification.perplexity_ratio <= PERPLEXITY_LIMIT
    assert backend.optimization_level == (3 if level == 3 or is_good else 2)
    backend.close()


def test_the_quality_gate_measures_no_other_level_than_it_was_asked_for(
    quick_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CXX", "/nonexistent")
    cache = str(tmp_path / "cache")
    backend, _ = load(quick_model, optimization_level=3, cache_dir=cache)
    with pytest.raises(LoadError, match="optimization level 3 is not available"):
        reach_level(backend, 3)
