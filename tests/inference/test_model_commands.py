"""manage.py list, show, ps, load, stop."""

from __future__ import annotations

import json
import threading
from io import StringIO
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from inference.models import Model
from inference.presence import EngineReport, Freed, announce
from inference.states import ModelState
from monitoring.models import AuditLog
from tests.conftest import MODEL
from tests.inference.test_model_control import worker

READY = EngineReport(MODEL, ModelState.READY, resident_bytes=2**30, num_running=3, backend="cpu")


def run(*arguments: str) -> str:
    out = StringIO()
    call_command(*arguments, stdout=out)
    return out.getvalue()


def test_the_list_shows_state_size_and_marks(model: Any, redis_client: Any) -> None:
    announce(redis_client, worker(READY))
    head, line = run("list").splitlines()
    assert head.split() == ["MODEL", "STATE", "SIZE", "CONTEXT", "FORMAT"]
    assert line.split()[:2] == [MODEL, "ready"]
    assert line.endswith("default")
    Model.objects.update(is_enabled=False, is_pinned=True)
    assert run("list").splitlines()[1].endswith("default, pinned, disabled")


def test_the_list_for_programs(model: Any, redis_client: Any) -> None:
    (listed,) = json.loads(run("list", "--json"))
    assert (listed["id"], listed["state"], listed["loaded"]) == (MODEL, "available", False)


def test_one_model_is_shown_whole(model: Any, redis_client: Any) -> None:
    shown = dict(line.split(maxsplit=1) for line in run("show", MODEL).splitlines())
    assert shown["architecture"] == "LlamaForCausalLM"
    assert shown["keep_alive"] == "-"
    assert json.loads(run("show", MODEL, "--json"))["id"] == MODEL


def test_an_unknown_model_is_told_with_the_known_ones(model: Any, redis_client: Any) -> None:
    for command in ("show", "load", "stop"):
        with pytest.raises(CommandError, match=f"no model 'nothing'; there are: {MODEL}"):
            run(command, "nothing")


def test_the_engines_that_run(model: Any, redis_client: Any) -> None:
    loading = EngineReport("other", ModelState.LOADING, progress=0.4, stage="weights")
    announce(redis_client, worker(READY, loading))
    _, first, second = run("ps").splitlines()
    assert first.split()[:7] == [MODEL, "ready", "cpu", "1.0", "GiB", "3", "0"]
    assert second.split()[:3] == ["other", "weights", "40%"]
    assert [engine["model"] for engine in json.loads(run("ps", "--json"))] == [MODEL, "other"]


def test_a_load_is_waited_for(model: Any, redis_client: Any) -> None:
    announce(redis_client, worker(EngineReport(MODEL, ModelState.LOADING, stage="weights")))
    timer = threading.Timer(0.5, announce, [redis_client, worker(READY)])
    timer.start()
    said = run("load", MODEL, "--keep-alive", "60", "--pin").splitlines()
    timer.join()
    assert said == ["weights 0%", f"{MODEL} is ready"]
    row = Model.objects.get()
    assert (row.desired_state, row.keep_alive, row.is_pinned) == ("ready", 60, True)
    assert AuditLog.objects.get(action="model.loaded").actor_name == "system"


def test_a_load_need_not_be_waited_for(model: Any, redis_client: Any) -> None:
    announce(redis_client, worker())
    said = json.loads(run("load", MODEL, "--no-wait", "--json", "--optimization-level", "0"))
    assert (said["model"], said["state"]) == (MODEL, "loading")
    assert Model.objects.get().load_options == {"optimization_level": 0}


def test_a_load_that_fails_fails_the_command(model: Any, redis_client: Any) -> None:
    announce(redis_client, worker(EngineReport(MODEL, ModelState.LOADING)))
    failed = EngineReport(MODEL, ModelState.FAILED, error="model.safetensors is truncated")
    timer = threading.Timer(0.5, announce, [redis_client, worker(failed)])
    timer.start()
    with pytest.raises(CommandError, match="truncated"):
        run("load", MODEL)
    timer.join()


def test_refusals_of_a_load_are_the_commands(model: Any, redis_client: Any) -> None:
    with pytest.raises(CommandError, match="No inference worker"):
        run("load", MODEL)
    with pytest.raises(CommandError, match="--max-memory"):
        run("load", MODEL, "--max-memory", "lots")


def test_stopping_tells_what_came_free(model: Any, redis_client: Any) -> None:
    freed = worker(generations={MODEL: 1}, freed={MODEL: Freed(1, 2**30)})
    announce(redis_client, freed)
    assert run("stop", MODEL) == f"{MODEL} is unloaded (1.0 GiB)\n"
    announce(redis_client, worker(generations={MODEL: 2}))
    assert json.loads(run("stop", MODEL, "--json")) == {
        "model": MODEL,
        "is_gone": True,
        "freed_memory": 0,
    }
