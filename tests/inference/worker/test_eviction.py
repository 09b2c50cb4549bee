"""Short memory unloads what nobody uses, the longest unused first, and never what is at work or pinned."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from inference.load_options import LoadOptions
from inference.model_control import load_model, note_eviction
from inference.models import Model
from inference.presence import EngineReport, announce
from inference.protocol import Load, Prompt, SamplingParams, Submit
from inference.room import check_room
from inference.states import ModelState
from inference.worker import eviction as module
from inference.worker.engine_pool import EnginePool, LoadOrder
from inference.worker.engine_process import EngineLoadError
from inference.worker.eviction import Eviction
from inference.worker.model_events import tell_eviction
from llamagpu.http.errors import AppError
from llamagpu.lib.error_codes import ErrorCode
from monitoring.models import AuditLog
from tests import fakes
from tests.conftest import MODEL
from tests.inference.engine.tiny_models import write_model
from tests.inference.test_model_control import GIB, worker
from tests.inference.worker.conftest import wait_until

MIB = 1024**2
#: A model of a few thousand weights takes what its process does, 400 MiB and a little.
ONE, TWO = 700 * MIB, 1100 * MIB


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("models")
    for slug in "abc":
        write_model(root / slug)
    return root


@pytest.fixture
def evicted() -> list[Eviction]:
    return []


@pytest.fixture
def make_pool(
    folders: Path, evicted: list[Eviction], monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[[int], EnginePool]]:
    monkeypatch.setattr(module, "LEAST_IDLE", 0.0)
    # The stand-in holds little: it is taken to hold what the model's headers say.
    monkeypatch.setattr(module, "held_bytes", lambda process: 450 * MIB)
    made: list[EnginePool] = []

    def make(limit: int) -> EnginePool:
        pool = EnginePool(
            lambda slug: LoadOrder(Load(model_path=str(folders / slug), max_model_len=64)),
            fakes.COMMAND,
            memory_limit=limit,
            on_evict=evicted.append,
        )
        made.append(pool)
        return pool

    yield make
    for pool in made:
        pool.close(1.0)


def loaded(pool: EnginePool) -> set[str]:
    return {report.model for report in pool.reports() if report.state is ModelState.READY}


def test_the_longest_unused_goes(make_pool: Any, evicted: list[Eviction]) -> None:
    pool = make_pool(TWO)
    pool.get("b")
    pool.get("a")
    pool.get("b")
    pool.get("c", timeout=20)
    assert [(gone.slug, gone.made_room_for) for gone in evicted] == [("a", "c")]
    assert loaded(pool) == {"b", "c"}
    wait_until(lambda: "a" in pool.freed(), "what it held is told")
    assert "to make room for 'c'" in pool.freed()["a"].why


def test_what_fits_makes_nobody_go(make_pool: Any, evicted: list[Eviction]) -> None:
    pool = make_pool(10 * GIB)
    for slug in "abc":
        pool.get(slug)
    assert (evicted, loaded(pool)) == ([], {"a", "b", "c"})


def test_what_is_pinned_stays(make_pool: Any, evicted: list[Eviction]) -> None:
    pool = make_pool(TWO)
    pool.protect(["a"])
    pool.get("a")
    pool.get("b")
    pool.get("c", timeout=20)
    assert [gone.slug for gone in evicted] == ["b"]


def test_what_people_have_loaded_goes_last(make_pool: Any, evicted: list[Eviction]) -> None:
    pool = make_pool(TWO)
    pool.keep("a")
    pool.get("a")
    pool.get("b")
    pool.get("c", timeout=20)
    assert [gone.slug for gone in evicted] == ["b"]


def test_what_is_at_work_stays(make_pool: Any, evicted: list[Eviction]) -> None:
    pool = make_pool(ONE)
    busy = pool.get("a")
    busy.submit(Submit("r", Prompt(text="hang"), SamplingParams(), 60.0))
    pool.get("b", timeout=20)  # the stand-in loads anyway; a real engine would refuse
    assert evicted == []
    assert not busy.is_leaving


def test_an_engine_that_finds_too_little_has_one_more_go(
    make_pool: Any, evicted: list[Eviction], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its own figures count for more than the estimate before."""
    pool = make_pool(10 * GIB)
    pool.get("a")
    monkeypatch.setattr(pool, "_command", (*fakes.COMMAND, "--unused"))
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}:{fakes.__file__.rpartition('/tests/')[0]}")
    script = tmp_path / "short_of_memory.py"
    script.write_text(SHORT_ONCE.format(mark=str(tmp_path / "mark")))
    monkeypatch.setattr(pool, "_command", (fakes.COMMAND[0], str(script)))
    pool.get("b", timeout=30)
    assert [gone.slug for gone in evicted] == ["a"]


SHORT_ONCE = """\
import pathlib, socket, sys
from inference import wire
from inference.protocol import Hello, LoadFailed
from llamagpu.lib.error_codes import ErrorCode
from tests.fakes import FakeEngine
mark = pathlib.Path({mark!r})
channel = socket.socket(fileno=int(sys.argv[1]))
if mark.exists():
    FakeEngine(channel).serve()
else:
    mark.touch()
    wire.send(channel, Hello(1))
    wire.receive(channel)
    wire.send(channel, LoadFailed(ErrorCode.INSUFFICIENT_MEMORY, "needs 2.0 of 1.0 GiB free"))
"""


def test_where_nobody_may_go_the_figures_and_the_holders_are_told(
    make_pool: Any, evicted: list[Eviction], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pool = make_pool(10 * GIB)
    pool.protect(["a"])
    pool.get("a")
    monkeypatch.setenv("PYTHONPATH", fakes.__file__.rpartition("/tests/")[0])
    script = tmp_path / "short_of_memory.py"
    script.write_text(SHORT_ONCE.format(mark=str(tmp_path / "mark")))
    monkeypatch.setattr(pool, "_command", (fakes.COMMAND[0], str(script)))
    with pytest.raises(EngineLoadError) as raised:
        pool.get("b", timeout=30)
    assert raised.value.code is ErrorCode.INSUFFICIENT_MEMORY
    assert "needs 2.0 of 1.0 GiB free. Loaded: a (0.44 GiB, to stay)." in str(raised.value)
    assert evicted == []


def test_two_that_need_the_same_room_both_get_an_answer(make_pool: Any) -> None:
    pool = make_pool(TWO)
    pool.get("a")
    found: list[str] = []

    def ask(slug: str) -> None:
        pool.get(slug, timeout=30)
        found.append(slug)

    threads = [threading.Thread(target=ask, args=(slug,)) for slug in "bc"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(40)
    assert sorted(found) == ["b", "c"]


# ------------------------------------------------------------------ what is written of it


@pytest.mark.django_db(transaction=True, serialized_rollback=True)
def test_an_eviction_is_audited_and_published(model: Any, redis_client: Any) -> None:
    Model.objects.update(desired_state="ready")
    tell_eviction(Eviction(MODEL, 0, 720.4, "other"))
    assert Model.objects.get().desired_state == "automatic"
    entry = AuditLog.objects.get(action="model.unloaded")
    assert (entry.data["reason"], entry.data["idle_for"], entry.data["made_room_for"]) == (
        "memory",
        720,
        "other",
    )
    ((_, fields),) = redis_client.xrange("lg:live:model_events")
    assert b'"event_type": "model_evicted"' in fields[b"event"]


def test_one_that_was_loaded_at_need_is_audited_too(model: Any) -> None:
    note_eviction(slug=MODEL, generation=0, idle_for=1.0, made_room_for="other")
    assert AuditLog.objects.get(action="model.unloaded").data["made_room_for"] == "other"


def test_idle_models_count_as_room(model: Any, redis_client: Any, settings: Any) -> None:
    idle = EngineReport("other", ModelState.READY, held_bytes=8 * GIB, idle_for=60.0)
    announce(redis_client, worker(idle, memory_limit=9 * GIB))
    check_room(model, LoadOptions())
    busy = EngineReport("other", ModelState.READY, held_bytes=9 * GIB, num_running=1)
    announce(redis_client, worker(busy, memory_limit=9 * GIB))
    with pytest.raises(AppError, match="GiB free"):
        load_model(actor=None, model=model)
