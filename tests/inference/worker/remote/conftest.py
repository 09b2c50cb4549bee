from __future__ import annotations

import queue
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest

from inference.protocol import Delta, Failed, Finished, Prompt, SamplingParams, Submit
from inference.upstream_models import CAPABILITIES
from inference.upstreams import BaseUrl
from inference.worker.engine_process import EngineDiedError, Ticket
from inference.worker.remote import call, engine, probe
from inference.worker.remote.engine import RemoteEngine
from inference.worker.remote.target import RemoteLoad
from llamagpu.lib.allow_list import AllowList
from tests.fake_upstream import MODEL, FakeUpstream

MakeEngine = Callable[..., RemoteEngine]
KEY = "sk-very-secret"


@pytest.fixture
def upstream() -> Iterator[FakeUpstream]:
    server = FakeUpstream()
    yield server
    server.close()


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(call, "_FIRST_PAUSE", 0.01)
    monkeypatch.setattr(probe, "_FIRST_PAUSE", 0.01)
    monkeypatch.setattr(engine, "LOAD_PATIENCE", 0.05)
    for module in (call, engine):
        monkeypatch.setattr(module, "AWAY_PATIENCE", 0.2)
    monkeypatch.setattr(engine, "PROBE_INTERVAL", 0.1)


def load_of(upstream: FakeUpstream, **fields: Any) -> RemoteLoad:
    load = RemoteLoad(
        base_url=BaseUrl.parse(upstream.url),
        upstream_model=MODEL,
        key=KEY,
        allow=AllowList.parse(["127.0.0.1"]),
        silence=20.0,
        capabilities=frozenset(CAPABILITIES),
        max_model_len=1000,
        max_new_tokens=500,
        num_slots=8,
    )
    return replace(load, **fields)


@pytest.fixture
def make_engine(upstream: FakeUpstream) -> Iterator[MakeEngine]:
    made: list[RemoteEngine] = []

    def make(**fields: Any) -> RemoteEngine:
        driver = RemoteEngine("remote", load_of(upstream, **fields), lambda ended: None)
        made.append(driver)
        return driver

    yield make
    for driver in made:
        driver.stop(10)
        assert driver.wait_gone(10)


def request(text: str = "hi", timeout: float = 30.0, **params: Any) -> Submit:
    prompt = params.pop("prompt", Prompt(text=text))
    return Submit("job.1", prompt, SamplingParams(**params), timeout)


def events_of(ticket: Ticket) -> list[Any]:
    """Up to the last one; an engine that died ends them too."""
    events: list[Any] = []
    while True:
        try:
            events.append(ticket.next_event(30))
        except EngineDiedError as error:
            return [*events, error]
        except queue.Empty:
            pytest.fail("the engine never answered")
        if isinstance(events[-1], Finished | Failed):
            return events


def answer(driver: RemoteEngine, **fields: Any) -> list[Any]:
    driver.wait_ready(30)
    return events_of(driver.submit(request(**fields)))


def text_of(events: list[Any]) -> str:
    return "".join(event.text for event in events if isinstance(event, Delta))
