"""The same sockets under uvicorn, the other web server that is documented."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from monitoring.live_events import MODEL_EVENTS, publish
from tests.conftest import make_caller
from tests.live_portal import UVICORN, Portal, run_portal
from tests.monitoring.live.test_slow_watchers import FILLING, MEBIBYTE, deaf

pytestmark = [
    pytest.mark.django_db(transaction=True, serialized_rollback=True),
    pytest.mark.usefixtures("redis_client"),
]


@pytest.fixture(scope="module")
def uvicorn(
    valkey: str, django_db_setup: None, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Portal]:
    with run_portal(tmp_path_factory.mktemp("portal"), UVICORN) as running:
        yield running


def test_events_come_and_wrong_callers_do_not(uvicorn: Portal) -> None:
    caller = make_caller("user")
    with uvicorn.watch(caller.key, MODEL_EVENTS) as socket:
        publish(MODEL_EVENTS, "model_ready", {"model": "m"})
        assert socket.read()["data"] == {"model": "m"}
    with uvicorn.open("/ws/stream/", subprotocols=["llamagpu.v1", "key.wrong"]) as socket:
        assert socket.end()[0] == 4401
        assert socket.connection.subprotocol == "llamagpu.v1"


def test_who_never_reads_costs_little(uvicorn: Portal) -> None:
    key, other = make_caller("user").key, make_caller("operator").key
    with uvicorn.watch(other, MODEL_EVENTS) as quick, deaf(uvicorn, key, MODEL_EVENTS):
        before = uvicorn.memory
        for number in range(3000):
            publish(MODEL_EVENTS, "model_loading", {"number": number, "filling": FILLING})
            while number % 10 == 0 and quick.read()["data"]["number"] < number:
                pass
        assert uvicorn.memory - before < 48 * MEBIBYTE
