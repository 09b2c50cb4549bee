"""What people want of a model is written with its audit row, and workers are told."""

from __future__ import annotations

from typing import Any

import pytest

from inference import model_bell
from inference.load_options import LoadOptions
from inference.model_control import change_model, forget_idle_model, load_model, unload_model
from inference.models import Model
from inference.presence import EngineReport, WorkerReport, announce
from inference.states import ModelState
from llamagpu.http.errors import AppError
from llamagpu.lib.error_codes import ErrorCode
from monitoring.models import AuditLog
from tests.conftest import MODEL, Caller

GIB = 1024**3
NO_GPU = {"cuda": "no device", "rocm": "no device"}


def worker(*engines: EngineReport, name: str = "w", **fields: Any) -> WorkerReport:
    known: dict[str, Any] = {"rejected_backends": NO_GPU, **fields}
    return WorkerReport(name, "1", 1, "here", 0.0, 0, 8, engines, **known)


@pytest.fixture
def live_worker(redis_client: Any) -> None:
    announce(redis_client, worker())


def refused(code: ErrorCode) -> Any:
    return pytest.raises(AppError, check=lambda error: error.code is code)


def row() -> Model:
    return Model.objects.get(slug=MODEL)


def test_loading_is_wanted_and_audited(model: Any, operator: Caller, live_worker: None) -> None:
    load_model(actor=operator.user, model=model, changes={"keep_alive": 60})
    assert (row().desired_state, row().keep_alive, row().generation) == ("ready", 60, 0)
    entry = AuditLog.objects.get(action="model.loaded")
    assert (entry.actor_name, entry.target_name) == ("the-operator", MODEL)
    assert entry.before["desired_state"] == "automatic"
    assert entry.after == {
        "enabled": True,
        "pinned": False,
        "keep_alive": 60,
        "desired_state": "ready",
        "load_options": {},
        "max_model_len": None,
        "max_running": None,
        "max_new_tokens": None,
        "replicas": None,
    }


def test_other_options_ask_for_another_engine(
    model: Any, operator: Caller, live_worker: None
) -> None:
    options = LoadOptions(optimization_level=0, max_memory="2GiB")
    load_model(actor=operator.user, model=model, options=options)
    assert row().load_options == {"optimization_level": 0, "max_memory": "2GiB"}
    assert row().generation == 1
    load_model(actor=operator.user, model=model, options=options)
    assert row().generation == 1
    load_model(actor=operator.user, model=model)
    assert (row().load_options, row().generation) == ({}, 2)


def test_one_that_failed_is_tried_again_at_once(
    model: Any, operator: Caller, redis_client: Any
) -> None:
    announce(redis_client, worker(EngineReport(MODEL, ModelState.FAILED, error="no")))
    load_model(actor=operator.user, model=model)
    assert row().generation == 1


def test_unloading_raises_the_generation_every_time(model: Any, operator: Caller) -> None:
    unload_model(actor=operator.user, model=model)
    unload_model(actor=operator.user, model=model)
    assert (row().desired_state, row().generation) == ("unloaded", 2)
    assert AuditLog.objects.filter(action="model.unloaded").count() == 2


def test_the_workers_are_told_after_the_commit(
    model: Any,
    operator: Caller,
    live_worker: None,
    redis_client: Any,
    django_capture_on_commit_callbacks: Any,
) -> None:
    bell = model_bell.Bell(redis_client)
    assert not bell.wait(0.1)
    assert not bell.wait(0.1)
    with django_capture_on_commit_callbacks() as callbacks:
        unload_model(actor=operator.user, model=model)
    assert not bell.wait(0.1)
    for callback in callbacks:
        callback()
    assert bell.wait(5)
    bell.close()


def test_changes_are_audited_once(model: Any, operator: Caller) -> None:
    change_model(actor=operator.user, model=model, changes={"keep_alive": -1, "is_pinned": True})
    change_model(actor=operator.user, model=model, changes={"keep_alive": -1, "is_pinned": True})
    assert (row().keep_alive, row().is_pinned) == (-1, True)
    assert AuditLog.objects.filter(action="model.changed").count() == 1


@pytest.mark.parametrize("seconds", [-2, 2**31])
def test_an_impossible_keep_alive_is_refused(model: Any, operator: Caller, seconds: int) -> None:
    with refused(ErrorCode.INVALID_INPUT):
        change_model(actor=operator.user, model=model, changes={"keep_alive": seconds})
    assert row().keep_alive is None


def test_disabling_ends_the_engines(model: Any, operator: Caller, settings: Any) -> None:
    _another_default(settings)
    change_model(actor=operator.user, model=model, changes={"is_enabled": False})
    assert (row().is_enabled, row().desired_state, row().generation) == (False, "unloaded", 1)
    assert list(Model.objects.servable()) == []
    change_model(actor=operator.user, model=model, changes={"is_enabled": True})
    assert (row().is_enabled, row().desired_state, row().generation) == (True, "unloaded", 1)


def test_the_default_model_is_not_disabled(model: Any, operator: Caller) -> None:
    with refused(ErrorCode.CONFLICT):
        change_model(actor=operator.user, model=model, changes={"is_enabled": False})
    assert row().is_enabled


def test_a_disabled_or_absent_model_is_not_loaded(
    model: Any, operator: Caller, live_worker: None
) -> None:
    Model.objects.update(is_enabled=False)
    with refused(ErrorCode.CONFLICT):
        load_model(actor=operator.user, model=model)
    Model.objects.update(state="absent")
    with refused(ErrorCode.MODEL_NOT_FOUND):
        load_model(actor=operator.user, model=model)
    assert not AuditLog.objects.filter(action="model.loaded").exists()


def test_an_idle_model_is_wanted_no_longer(model: Any, operator: Caller, live_worker: None) -> None:
    load_model(actor=operator.user, model=model)
    forget_idle_model(slug=MODEL, generation=5)
    assert row().desired_state == "ready"
    forget_idle_model(slug=MODEL, generation=0)
    assert row().desired_state == "automatic"
    entry = AuditLog.objects.get(action="model.unloaded")
    assert (entry.actor_name, entry.data["reason"]) == ("system", "idle")


def test_without_a_worker_nothing_is_written(
    model: Any, operator: Caller, redis_client: Any
) -> None:
    with refused(ErrorCode.NO_WORKER):
        load_model(actor=operator.user, model=model)
    assert row().desired_state == "automatic"


def test_a_model_that_fits_no_worker_is_refused_with_the_figures(
    model: Any, operator: Caller, redis_client: Any
) -> None:
    full = worker(
        EngineReport("other", ModelState.READY, held_bytes=3 * GIB, num_running=1),
        memory_limit=3 * GIB + 1000,
        memory_available=8 * GIB,
    )
    announce(redis_client, full)
    with pytest.raises(AppError) as caught:
        load_model(actor=operator.user, model=model)
    error = caught.value
    assert error.code is ErrorCode.INSUFFICIENT_MEMORY
    assert "weights" in error.message
    assert error.details["available"] == 1000
    assert error.details["needed"] > error.details["weights"] > 100_000_000
    assert row().desired_state == "automatic"
    announce(redis_client, worker(name="empty", memory_limit=8 * GIB, memory_available=8 * GIB))
    load_model(actor=operator.user, model=model)


def test_what_its_own_engine_holds_counts_as_free(
    model: Any, operator: Caller, redis_client: Any
) -> None:
    own = EngineReport(MODEL, ModelState.LOADING, held_bytes=2 * GIB, resident_bytes=GIB)
    announce(redis_client, worker(own, memory_limit=2 * GIB, memory_available=0))
    load_model(actor=operator.user, model=model)


def test_a_bound_of_its_own_counts(model: Any, operator: Caller, redis_client: Any) -> None:
    announce(redis_client, worker(memory_limit=8 * GIB, memory_available=8 * GIB))
    with refused(ErrorCode.INSUFFICIENT_MEMORY):
        load_model(actor=operator.user, model=model, options=LoadOptions(max_memory="100MB"))
    # One that is served already is not given up for what cannot be.
    announce(redis_client, worker(EngineReport(MODEL, ModelState.READY), memory_available=0))
    with refused(ErrorCode.INSUFFICIENT_MEMORY):
        load_model(actor=operator.user, model=model, options=LoadOptions(max_memory="100MB"))
    assert row().desired_state == "automatic"
    load_model(actor=operator.user, model=model, options=LoadOptions(max_memory="4GiB"))


@pytest.mark.parametrize(
    ("options", "code"),
    [
        (LoadOptions(backend="cuda"), ErrorCode.BACKEND_UNAVAILABLE),
        (LoadOptions(devices=(0,)), ErrorCode.INVALID_INPUT),
        (LoadOptions(backend="cpu", devices=(0,)), ErrorCode.INVALID_INPUT),
    ],
)
def test_what_no_worker_can_do_is_refused(
    model: Any, operator: Caller, live_worker: None, options: LoadOptions, code: ErrorCode
) -> None:
    with refused(code):
        load_model(actor=operator.user, model=model, options=options)


def test_on_gpus_their_own_memory_decides(model: Any, operator: Caller, redis_client: Any) -> None:
    announce(redis_client, worker(rejected_backends={"rocm": "no"}, memory_limit=1))
    load_model(actor=operator.user, model=model, options=LoadOptions(devices=(0, 1)))
    assert row().load_options == {"devices": [0, 1]}


def test_options_come_back_as_they_were_kept() -> None:
    options = LoadOptions("cpu", 2, "25%", (0, 1))
    assert LoadOptions.from_row(options.as_row()) == options
    assert LoadOptions.from_row({"of a later version": 1}) == LoadOptions()
    assert options.max_memory_bytes(4 * GIB) == GIB


@pytest.mark.parametrize(
    ("fields", "limit"),
    [
        ({}, 300),
        ({"keep_alive": 5}, 5),
        ({"keep_alive": 0}, 0),
        ({"keep_alive": -1}, None),
        ({"is_pinned": True, "keep_alive": 5}, None),
        ({"desired_state": "ready"}, None),
        ({"desired_state": "ready", "keep_alive": 5}, 5),
        ({"slug": "default"}, None),
        ({"slug": "default", "keep_alive": 5}, None),
        ({"slug": "default", "desired_state": "unloaded"}, 300),
    ],
)
def test_how_long_an_unused_model_stays(fields: dict[str, Any], limit: int | None) -> None:
    assert Model(**{"slug": "m", **fields}).idle_limit("default", 300) == limit


def test_a_server_may_keep_everything() -> None:
    assert Model(slug="m").idle_limit("default", -1) is None


@pytest.mark.parametrize(
    ("slug", "desired", "wanted"),
    [
        ("default", "automatic", True),
        ("m", "automatic", False),
        ("m", "ready", True),
        ("default", "unloaded", False),
    ],
)
def test_which_models_are_loaded_unasked(slug: str, desired: str, wanted: bool) -> None:
    assert Model(slug=slug, desired_state=desired).is_wanted("default") is wanted


def _another_default(settings: Any) -> None:
    from tests.inference.test_doctor import with_config

    with_config(settings, default_model="another")
