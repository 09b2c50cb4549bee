"""`/ws/stream/` of the real web server."""

from __future__ import annotations

import json
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus

from monitoring.live_events import MODEL_EVENTS, PLUGIN_EVENTS, STREAMS, SYSTEM_METRICS, publish
from tests.conftest import Caller, make_caller
from tests.live_portal import Portal

pytestmark = [
    pytest.mark.django_db(transaction=True, serialized_rollback=True),
    pytest.mark.usefixtures("redis_client"),
]


@pytest.fixture
def watcher(transactional_db: None) -> Caller:
    return make_caller("user")


def metrics(number: int) -> dict[str, Any]:
    return {"cpu_usage": number}


def test_events_come_in_the_envelope_and_in_their_order(portal: Portal, watcher: Caller) -> None:
    with portal.watch(watcher.key, MODEL_EVENTS) as socket:
        for number in range(20):
            publish(MODEL_EVENTS, "model_loading", {"model": "m", "number": number})
        for number in range(20):
            event = socket.read()
            assert set(event) == {"timestamp", "event_type", "data"}
            assert event["event_type"] == "model_loading"
            assert event["data"] == {"model": "m", "number": number}


def test_only_what_was_subscribed_comes_until_it_is_left(portal: Portal, watcher: Caller) -> None:
    with portal.watch(watcher.key, MODEL_EVENTS) as socket:
        publish(PLUGIN_EVENTS, "plugin_loaded", {})
        publish(MODEL_EVENTS, "model_ready", {})
        assert socket.read()["event_type"] == "model_ready"
        socket.say({"action": "subscribe", "streams": [PLUGIN_EVENTS], "id": "a"})
        answer = socket.read()
        assert (answer["event_type"], answer["id"]) == ("subscribed", "a")
        assert answer["data"]["streams"] == [MODEL_EVENTS, PLUGIN_EVENTS]
        socket.say({"action": "unsubscribe", "streams": [MODEL_EVENTS]})
        assert socket.read()["data"]["streams"] == [PLUGIN_EVENTS]
        publish(MODEL_EVENTS, "model_ready", {})
        publish(PLUGIN_EVENTS, "plugin_loaded", {})
        assert socket.read()["event_type"] == "plugin_loaded"


def test_a_new_watcher_sees_the_newest_metrics_at_once(portal: Portal, watcher: Caller) -> None:
    for number in range(3):
        publish(SYSTEM_METRICS, SYSTEM_METRICS, metrics(number))
    with portal.watch(watcher.key, SYSTEM_METRICS) as socket:
        assert socket.read()["data"] == metrics(2)
        publish(SYSTEM_METRICS, SYSTEM_METRICS, metrics(3))
        assert socket.read()["data"] == metrics(3)


def test_who_comes_back_gets_what_was_missed_and_nothing_twice(
    portal: Portal, watcher: Caller
) -> None:
    with portal.watch(watcher.key, MODEL_EVENTS, ids=True) as socket:
        publish(MODEL_EVENTS, "model_loading", {"number": 0})
        last = socket.read()
        assert last["stream"] == MODEL_EVENTS
    for number in range(1, 6):
        publish(MODEL_EVENTS, "model_loading", {"number": number})
    with portal.watch(watcher.key, MODEL_EVENTS, since=last["id"]) as socket:
        publish(MODEL_EVENTS, "model_loading", {"number": 6})
        assert [socket.read()["data"]["number"] for _ in range(6)] == [1, 2, 3, 4, 5, 6]


def test_who_comes_back_too_late_is_told_so(portal: Portal, watcher: Caller) -> None:
    publish(MODEL_EVENTS, "model_ready", {"number": 0})
    with portal.watch(watcher.key, MODEL_EVENTS, since="5-0") as socket:
        gap = socket.read()
        assert (gap["event_type"], gap["data"]["stream"]) == ("gap", MODEL_EVENTS)
        assert socket.read()["data"] == {"number": 0}


def test_a_ping_is_answered(portal: Portal, watcher: Caller) -> None:
    with portal.open("/ws/stream/", watcher.key) as socket:
        socket.say({"action": "ping", "id": "1"})
        assert (answer := socket.read())["event_type"] == "pong"
        assert answer["id"] == "1"


@pytest.mark.parametrize(
    ("message", "named"),
    [
        ("no json", "not valid JSON"),
        (b"\x00", "not bytes"),
        ("[]", "JSON object"),
        ("{}", "action"),
        ({"action": "dance"}, "action"),
        ({"action": "subscribe"}, "streams"),
        ({"action": "subscribe", "streams": []}, "streams"),
        ({"action": "subscribe", "streams": "model_events"}, "streams"),
        ({"action": "subscribe", "streams": [7]}, "streams"),
        ({"action": "subscribe", "streams": ["secrets"]}, "secrets"),
        ({"action": "subscribe", "streams": [MODEL_EVENTS], "since": "x"}, "since"),
        ({"action": "subscribe", "streams": [MODEL_EVENTS], "ids": 1}, "ids"),
        ({"action": "subscribe", "streams": [MODEL_EVENTS], "more": 1}, "more"),
        ({"action": "unsubscribe", "streams": [MODEL_EVENTS], "since": "1-0"}, "since"),
        ({"action": "ping", "streams": []}, "streams"),
        ('{"action": "ping", "action": "ping"}', "twice"),
    ],
)
def test_a_wrong_message_is_named_and_ends_nothing(
    message: Any, named: str, portal: Portal, watcher: Caller
) -> None:
    with portal.open("/ws/stream/", watcher.key) as socket:
        socket.say(message)
        error = socket.read()
        assert error["event_type"] == "error"
        assert error["data"]["error"]["code"] == "INVALID_INPUT"
        assert named in json.dumps(error["data"])
        socket.say({"action": "ping"})
        assert socket.read()["event_type"] == "pong"


def test_a_message_that_is_too_long_ends_the_socket(portal: Portal, watcher: Caller) -> None:
    for length in (20_000, 3_000_000):  # beyond this socket's limit, and beyond the server's
        with portal.open("/ws/stream/", watcher.key) as socket:
            socket.connection.send("x" * length)
            code, _ = socket.end()
            assert code == 1009


def test_who_says_too_much_is_closed(portal: Portal, watcher: Caller) -> None:
    with portal.open("/ws/stream/", watcher.key) as socket:
        with pytest.raises(ConnectionClosed):
            for _ in range(10_000):
                socket.say({"action": "ping"})
        code, _ = socket.end()
        assert code in (4429, 1006)


def test_an_address_without_a_socket_is_refused(portal: Portal, watcher: Caller) -> None:
    with pytest.raises(InvalidStatus) as refused, portal.open("/ws/elsewhere/", watcher.key):
        pass
    assert refused.value.response.status_code == 403


def test_all_streams_can_be_watched_at_once(portal: Portal, watcher: Caller) -> None:
    with portal.watch(watcher.key, *STREAMS) as socket:
        for stream in STREAMS:
            publish(stream, stream, {"of": stream})
        missing = set(STREAMS)
        while missing:  # metrics of before may come first
            missing.discard(socket.read()["data"].get("of"))
