"""A worker's registry with real plugins and a real Valkey; what is wanted is told by the test."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import psutil
import pytest
import redis
from django.conf import settings
from django.db import OperationalError

from llamagpu.lib.redis_client import sync_client
from monitoring import live_events
from plugins_app.base import Hook
from plugins_app.pipeline import PluginsUnknownError
from plugins_app.presence import read_reports
from plugins_app.registry import PluginRegistry
from plugins_app.runners.base import FaultKind, PluginFaultError, RunnerState
from plugins_app.spec import FailurePolicy, PluginSpec, Tier
from tests.plugins_app.stage import ATTACK, HELLO, PATIENCE, Stage, answer_to, hostile

pytestmark = pytest.mark.django_db(transaction=True, serialized_rollback=True)

WORKER = "worker@test"


class Wishes:
    """What the database would say."""

    def __init__(self) -> None:
        self.specs: list[PluginSpec] = []
        self.number = 0
        self.is_away = False

    def want(self, *specs: PluginSpec) -> None:
        self.specs, self.number = list(specs), self.number + 1

    def read(self) -> list[PluginSpec]:
        return self.specs

    def read_generation(self) -> int:
        if self.is_away:
            raise OperationalError("gone")
        return self.number


@pytest.fixture
def wishes() -> Wishes:
    return Wishes()


@pytest.fixture
def registry(valkey: str, wishes: Wishes) -> Iterator[PluginRegistry]:
    sync_client(valkey).delete(live_events.key_of(live_events.PLUGIN_EVENTS))
    registry = PluginRegistry(
        sync_client(valkey),
        WORKER,
        read=wishes.read,
        read_generation=wishes.read_generation,
    )
    yield registry
    registry.close(1.0)


@pytest.fixture
def settle(registry: PluginRegistry) -> Callable[[], None]:
    def look() -> None:
        registry.follow()
        assert registry.wait_settled(PATIENCE)

    return look


def says(word: str) -> str:
    return hostile(f"return replace(context, text={word!r})")


def answers(registry: PluginRegistry) -> list[str]:
    with registry.lease() as links:
        return [answer_to(link.runner) for link in links]


def events_of(kind: str) -> list[str]:
    client = sync_client(settings.REDIS_URL)
    found = client.xrange(live_events.key_of(live_events.PLUGIN_EVENTS))
    return [f[b"event"].decode() for _, f in found if f'"{kind}"' in f[b"event"].decode()]


def test_what_is_wanted_runs_in_its_order(
    stage: Stage, registry: PluginRegistry, wishes: Wishes, settle: Callable[[], None]
) -> None:
    core = replace(stage.spec(says("core"), tier=Tier.CORE), generation=1)
    user = replace(stage.spec(says("user")), generation=1)
    wishes.want(user, core)
    settle()
    assert answers(registry) == ["user", "core"]
    wishes.want(core, user)
    settle()
    assert answers(registry) == ["core", "user"]
    wishes.want(core)
    settle()
    assert answers(registry) == ["core"]


def test_a_greater_generation_takes_the_place_and_the_old_process_ends(
    stage: Stage, registry: PluginRegistry, wishes: Wishes, settle: Callable[[], None]
) -> None:
    first = replace(stage.spec(says("one")), slug="p", generation=1)
    second = replace(stage.spec(says("two")), slug="p", generation=2)
    wishes.want(first)
    settle()
    old = psutil.Process(registry.reports()["p"].pid)
    wishes.want(second)
    with registry.lease() as held:
        settle()
        assert answers(registry) == ["two"]
        assert answer_to(held[0].runner) == "one"  # a request that began before
        assert old.is_running()
    _, alive = psutil.wait_procs([old], timeout=PATIENCE)
    assert alive == []
    assert registry.reports()["p"].generation == 2


def test_a_reload_makes_a_new_process_of_the_same_plugin(
    stage: Stage, registry: PluginRegistry, wishes: Wishes, settle: Callable[[], None]
) -> None:
    spec = replace(stage.spec(says("one")), slug="p", generation=1)
    wishes.want(spec)
    settle()
    old = registry.reports()["p"].pid
    wishes.want(replace(spec, generation=2))
    settle()
    assert registry.reports()["p"].pid != old


def test_another_order_or_policy_needs_no_new_process(
    stage: Stage, registry: PluginRegistry, wishes: Wishes, settle: Callable[[], None]
) -> None:
    spec = replace(stage.spec(says("one")), slug="p", generation=1)
    wishes.want(spec)
    settle()
    old = registry.reports()["p"].pid
    wishes.want(replace(spec, order=5, policy=FailurePolicy.FAIL_CLOSED, generation=2))
    settle()
    report = registry.reports()["p"]
    assert (report.pid, report.generation) == (old, 2)
    with registry.lease() as links:
        assert (links[0].spec.order, links[0].spec.policy) == (5, FailurePolicy.FAIL_CLOSED)
    assert answers(registry) == ["one"]


def test_one_that_cannot_be_loaded_leaves_its_predecessor_running(
    stage: Stage, registry: PluginRegistry, wishes: Wishes, settle: Callable[[], None]
) -> None:
    good = replace(stage.spec(says("good")), slug="p", generation=1)
    bad = replace(stage.spec(hostile(head="raise ValueError('bad day')")), slug="p", generation=2)
    wishes.want(good)
    settle()
    wishes.want(bad)
    settle()
    assert answers(registry) == ["good"]
    report = registry.reports()["p"]
    assert (report.state, report.generation, report.tried_generation) == (RunnerState.READY, 1, 2)
    assert "bad day" in report.error
    wishes.want(replace(good, generation=3))
    settle()
    assert registry.reports()["p"].error == ""


@pytest.mark.parametrize("tier", [Tier.USER, Tier.CORE])
def test_a_changed_file_is_not_loaded(
    stage: Stage,
    registry: PluginRegistry,
    wishes: Wishes,
    settle: Callable[[], None],
    tier: Tier,
) -> None:
    spec = replace(stage.spec(says("good"), tier=tier), slug="p", generation=1)
    with spec.path.open("a") as file:
        file.write("\n# changed\n")
    wishes.want(spec)
    settle()
    report = registry.reports()["p"]
    assert (report.state, report.pid) == (RunnerState.FAILED, None)
    assert "changed since they were approved" in report.error
    assert answers(registry) == []


def test_one_that_must_not_be_left_out_fails_requests_until_it_runs(
    stage: Stage, registry: PluginRegistry, wishes: Wishes, settle: Callable[[], None]
) -> None:
    broken = stage.spec(hostile(head="raise ValueError('bad day')"))
    closed = FailurePolicy.FAIL_CLOSED
    wishes.want(replace(broken, slug="p", generation=1, policy=closed))
    settle()
    with registry.lease() as links:
        assert [link.spec.slug for link in links] == ["p"]
        with pytest.raises(PluginFaultError, match="bad day") as caught:
            links[0].call(Hook.PROMPT, HELLO)
    assert caught.value.kind is FaultKind.UNAVAILABLE
    assert registry.reports()["p"].state is RunnerState.FAILED
    wishes.want(replace(broken, slug="p", generation=2))  # fail_open again
    settle()
    assert answers(registry) == []
    wishes.want(replace(stage.spec(says("good")), slug="p", generation=3, policy=closed))
    settle()
    assert answers(registry) == ["good"]


def test_a_request_waits_for_the_first_word_of_the_database(
    stage: Stage, registry: PluginRegistry, wishes: Wishes
) -> None:
    spec = stage.spec(says("good"), policy=FailurePolicy.FAIL_CLOSED)
    wishes.want(replace(spec, slug="p", generation=1))

    def slugs() -> list[str]:
        with registry.lease() as links:
            return [link.spec.slug for link in links]

    with ThreadPoolExecutor(1) as caller:
        early = caller.submit(slugs)
        registry.follow()
        assert early.result(PATIENCE) == ["p"]


def test_no_request_passes_before_it_is_known_what_it_must_pass(
    registry: PluginRegistry, wishes: Wishes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A redactor that nobody knows of yet is a redactor that was left out."""
    monkeypatch.setattr("plugins_app.registry._PATIENCE", 0.0)
    wishes.is_away = True
    registry._look()
    with pytest.raises(PluginsUnknownError):
        registry.lease()
    wishes.is_away = False
    registry._look()
    assert answers(registry) == []


def test_without_the_database_all_goes_on(
    stage: Stage, registry: PluginRegistry, wishes: Wishes, settle: Callable[[], None]
) -> None:
    wishes.want(replace(stage.spec(says("good")), generation=1))
    settle()
    wishes.is_away = True
    with pytest.raises(OperationalError):
        registry.follow()
    registry._look()
    assert answers(registry) == ["good"]


class Away:
    """A Redis that answers nobody."""

    def __getattr__(self, name: str) -> Any:
        raise redis.ConnectionError("gone")


def test_without_redis_all_goes_on(stage: Stage, wishes: Wishes) -> None:
    registry = PluginRegistry(
        Away(),
        WORKER,
        read=wishes.read,
        read_generation=wishes.read_generation,
    )
    wishes.want(replace(stage.spec(says("good")), generation=1))
    registry.start()
    try:
        wait_for(lambda: answers(registry) == ["good"])
        wishes.want()
        wait_for(lambda: answers(registry) == [])
    finally:
        registry.close(1.0)


def wait_for(is_so: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not is_so():
        assert time.monotonic() < deadline
        threading.Event().wait(0.02)


def test_its_thread_reports_and_publishes(
    stage: Stage, registry: PluginRegistry, wishes: Wishes
) -> None:
    spec = replace(stage.spec(hostile("raise ValueError('the prompt')")), slug="p", generation=1)
    wishes.want(spec)
    registry.start()
    wait_for(lambda: "p" in read_reports().get(WORKER, {}))
    wait_for(lambda: read_reports()[WORKER]["p"].state is RunnerState.READY)
    report = read_reports()[WORKER]["p"]
    assert (report.version, report.generation) == ("1.0.0", 1)
    assert "files" in report.isolation
    with registry.lease() as links:
        for _ in range(5):
            with pytest.raises(PluginFaultError):
                links[0].call(Hook.PROMPT, ATTACK)
    wait_for(lambda: bool(events_of("plugin_fault")) and bool(events_of("breaker_opened")))
    assert len(events_of("plugin_loaded")) == 1
    assert "the prompt" not in "".join(events_of("plugin_fault"))
    registry.close(1.0)
    assert WORKER not in read_reports()


def test_reloads_under_the_load_of_eight_callers_lose_and_corrupt_nothing(
    stage: Stage, registry: PluginRegistry, wishes: Wishes, settle: Callable[[], None]
) -> None:
    source = hostile(methods="def cleanup(self):\n    self.config = None")
    spec = replace(stage.spec(source), slug="p", generation=1)
    wishes.want(spec)
    settle()
    is_over = threading.Event()

    def call_on(number: int) -> int:
        done = 0
        while not is_over.is_set():
            with registry.lease() as links:
                text = f"caller {number} call {done}"
                for _ in range(3):
                    answer = links[0].call(Hook.PROMPT, replace(HELLO, text=text))
                    assert answer.text == text.upper()
            done += 1
        return done

    with ThreadPoolExecutor(8) as callers:
        running = [callers.submit(call_on, number) for number in range(8)]
        try:
            for generation in range(2, 6):
                wishes.want(replace(spec, generation=generation))
                settle()
                assert registry.reports()["p"].generation == generation
        finally:
            is_over.set()
        assert min(caller.result(PATIENCE) for caller in running) > 0
