"""`/socket.io/` of the real web server, driven by the official clients of Python and JavaScript."""

from __future__ import annotations

import json
import queue
import socket as sockets
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import socketio
from websockets.exceptions import ConnectionClosed

from accounts.models import ApiKey
from accounts.services.api_keys import revoke_api_key
from monitoring.live.socketio_link import ADMISSION_TIMEOUT
from monitoring.live_events import MODEL_EVENTS, PLUGIN_EVENTS, SYSTEM_METRICS, publish
from tests.conftest import Caller, make_caller
from tests.live_portal import PATIENCE, Portal, Socket
from tests.monitoring.live.test_access import cookie_of
from tests.monitoring.live.test_slow_watchers import FILLING, MEBIBYTE, begin, read_until, say

pytestmark = [
    pytest.mark.django_db(transaction=True, serialized_rollback=True),
    pytest.mark.usefixtures("redis_client"),
]
SCRIPT = Path(__file__).with_name("socketio_client.mjs")


@pytest.fixture
def watcher(transactional_db: None) -> Caller:
    return make_caller("user")


class Client:
    """The Python client; events are read in their order."""

    def __init__(self, client: socketio.Client) -> None:
        self.client = client
        self.events: queue.Queue[tuple[str, Any]] = queue.Queue()
        client.on("*", lambda name, data=None: self.events.put((name, data)))
        client.on("disconnect", lambda *_: self.events.put(("disconnect", None)))

    def call(self, name: str, data: Any = None) -> Any:
        return self.client.call(name, data, timeout=PATIENCE)

    def next(self, name: str) -> Any:
        while True:
            found, data = self.events.get(timeout=PATIENCE)
            if found == name:
                return data


def new_client(origin: str) -> socketio.Client:
    extra = {"origin": origin} if origin else {"suppress_origin": True}
    return socketio.Client(reconnection=False, websocket_extra_options=extra)


@contextmanager
def connected(portal: Portal, origin: str = "", **options: Any) -> Iterator[Client]:
    client = new_client(origin)
    wrapped = Client(client)
    try:
        client.connect(portal.url, transports=["websocket"], wait_timeout=PATIENCE, **options)
        yield wrapped
    finally:
        client.disconnect()


def refused(portal: Portal, origin: str = "", **options: Any) -> str:
    """What the client is told that is not let in."""
    client = new_client(origin)
    told: list[Any] = []
    client.on("connect_error", told.append)
    with pytest.raises(socketio.exceptions.ConnectionError):
        client.connect(portal.url, transports=["websocket"], wait_timeout=PATIENCE, **options)
    return str(told[0]["data"]["error"]["code"])


def test_events_come_by_the_name_of_their_stream(portal: Portal, watcher: Caller) -> None:
    with connected(portal, auth={"key": watcher.key}) as client:
        answer = client.call("subscribe", {"streams": [MODEL_EVENTS]})
        assert answer == {"success": True, "streams": [MODEL_EVENTS]}
        publish(PLUGIN_EVENTS, "plugin_loaded", {})
        for number in range(10):
            publish(MODEL_EVENTS, "model_loading", {"number": number})
        for number in range(10):
            event = client.next(MODEL_EVENTS)
            assert set(event) == {"timestamp", "event_type", "data"}
            assert event["data"] == {"number": number}
        assert client.call("unsubscribe", {"streams": [MODEL_EVENTS]})["streams"] == []
        client.call("subscribe", {"streams": [PLUGIN_EVENTS]})
        publish(MODEL_EVENTS, "model_ready", {})
        publish(PLUGIN_EVENTS, "plugin_loaded", {"plugin": "p"})
        assert client.next(PLUGIN_EVENTS)["data"] == {"plugin": "p"}
        assert client.events.empty()


def test_a_monitor_request_is_answered_with_the_newest_metrics(
    portal: Portal, watcher: Caller
) -> None:
    publish(SYSTEM_METRICS, SYSTEM_METRICS, {"cpu_usage": 1.0})
    publish(SYSTEM_METRICS, SYSTEM_METRICS, {"cpu_usage": 2.0})
    with connected(portal, headers=watcher.headers) as client:
        assert client.call("monitor_request") == {"success": True}
        assert client.next("monitor_data")["data"] == {"cpu_usage": 2.0}
        client.call("subscribe", {"streams": [SYSTEM_METRICS]})
        assert client.next(SYSTEM_METRICS)["data"] == {"cpu_usage": 2.0}


@pytest.mark.parametrize(
    ("name", "data", "named"),
    [
        ("subscribe", None, ""),
        ("subscribe", {"streams": ["secrets"]}, "secrets"),
        ("subscribe", {"streams": [MODEL_EVENTS], "more": 1}, "more"),
        ("subscribe", ({"streams": [MODEL_EVENTS]}, 1), "data"),
        ("unsubscribe", [], ""),
        ("monitor_request", {"what": 1}, "data"),
        ("dance", {}, "subscribe"),
    ],
)
def test_a_wrong_event_is_answered_and_ends_nothing(
    name: str, data: Any, named: str, portal: Portal, watcher: Caller
) -> None:
    with connected(portal, auth={"key": watcher.key}) as client:
        answer = client.call(name, data)
        assert answer["success"] is False
        assert answer["error"]["code"] == "INVALID_INPUT"
        assert named in json.dumps(answer)
        assert client.call("subscribe", {"streams": [MODEL_EVENTS]})["success"]


def test_who_may_not_is_not_let_in(portal: Portal, watcher: Caller) -> None:
    assert refused(portal) == "AUTHENTICATION_FAILED"
    assert refused(portal, auth={"key": "wrong"}) == "AUTHENTICATION_FAILED"
    assert refused(portal, auth={"token": watcher.key}) == "INVALID_INPUT"
    narrow = make_caller("admin", ("infer",)).key
    assert refused(portal, auth={"key": narrow}) == "PERMISSION_DENIED"
    cookies = {"Cookie": cookie_of(watcher)}
    for origin in ("", "http://evil.example"):
        assert refused(portal, origin, headers=cookies) == "PERMISSION_DENIED"
    wrong = {"key": "wrong"}
    assert refused(portal, portal.url, headers=cookies, auth=wrong) == "AUTHENTICATION_FAILED"
    with connected(portal, portal.url, headers=cookies) as client:
        assert client.call("subscribe", {"streams": [MODEL_EVENTS]})["success"]


def test_a_key_watches_no_more_than_its_scopes(portal: Portal) -> None:
    key = make_caller("admin", ("models:read",)).key
    with connected(portal, auth={"key": key}) as client:
        answer = client.call("subscribe", {"streams": [SYSTEM_METRICS]})
        assert answer["error"]["code"] == "PERMISSION_DENIED"
        assert client.call("monitor_request")["error"]["code"] == "PERMISSION_DENIED"
        assert client.call("subscribe", {"streams": [MODEL_EVENTS]})["success"]


def test_a_revoked_key_ends_what_is_open(portal: Portal, watcher: Caller) -> None:
    with connected(portal, auth={"key": watcher.key}) as client:
        client.call("subscribe", {"streams": [MODEL_EVENTS]})
        revoke_api_key(actor=None, key=ApiKey.objects.get())
        assert client.next("error")["error"]["code"] == "AUTHENTICATION_FAILED"
        client.next("disconnect")


def test_one_key_has_so_many_sockets_of_all_kinds(portal: Portal, watcher: Caller) -> None:
    with (
        connected(portal, auth={"key": watcher.key}),
        portal.open("/ws/stream/", watcher.key) as one,
        portal.open("/ws/stream/", watcher.key) as two,
    ):
        for socket in (one, two):
            socket.say({"action": "ping"})
            socket.next("pong")
        assert refused(portal, auth={"key": watcher.key}) == "RATE_LIMIT_EXCEEDED"


def test_other_transports_are_told_what_to_do(portal: Portal) -> None:
    response = httpx.get(f"{portal.url}/socket.io/?EIO=4&transport=polling")
    assert response.status_code == 400
    assert "websocket" in response.json()["error"]["message"]


def raw(portal: Portal) -> Any:
    return portal.open("/socket.io/?EIO=4&transport=websocket")


def closed(socket: Socket) -> int:
    """Read to the end: the code."""
    while True:
        try:
            socket.connection.recv(timeout=PATIENCE)
        except ConnectionClosed:
            return socket.connection.protocol.close_code or 0


def test_who_does_not_ask_to_be_let_in_is_closed(portal: Portal) -> None:
    assert ADMISSION_TIMEOUT < PATIENCE
    with raw(portal) as socket:
        assert closed(socket) == 4401


@pytest.mark.parametrize(
    "message", ["x", "9", "4x", "42[", '42["subscribe"]', "451-[", "4" + "5" * 30, "40/x,"]
)
def test_what_is_no_packet_breaks_nothing(message: str, portal: Portal, watcher: Caller) -> None:
    with raw(portal) as socket:
        socket.connection.send(message)
        with connected(portal, auth={"key": watcher.key}) as client:
            assert client.call("subscribe", {"streams": [MODEL_EVENTS]})["success"]


def test_who_says_too_much_or_too_long_is_closed(portal: Portal) -> None:
    with raw(portal) as socket:
        socket.connection.send("4" + "x" * 20_000)
        assert closed(socket) == 1009
    with raw(portal) as socket:
        for _ in range(60):
            socket.connection.send("3")
        assert closed(socket) == 4429


def test_who_never_reads_costs_little_and_is_closed(portal: Portal, watcher: Caller) -> None:
    other = make_caller("operator")
    with sockets.socket() as deaf, connected(portal, auth={"key": other.key}) as quick:
        quick.call("subscribe", {"streams": [MODEL_EVENTS]})
        begin(deaf, portal, "/socket.io/?EIO=4&transport=websocket", watcher.key)
        for text, answer in (
            ("40", b"40{"),
            (f'420["subscribe",{{"streams":["{MODEL_EVENTS}"]}}]', b"430["),
        ):
            say(deaf, text)
            read_until(deaf, answer)
        before = portal.memory
        for number in range(2000):
            publish(MODEL_EVENTS, "model_loading", {"number": number, "filling": FILLING})
            # The last one too: whoever subscribes next must not hear of these.
            is_awaited = number % 10 == 0 or number == 1999
            while is_awaited and quick.next(MODEL_EVENTS)["data"]["number"] < number:
                pass
        assert portal.memory - before < 48 * MEBIBYTE


def test_the_official_client_of_javascript(portal: Portal, watcher: Caller) -> None:
    publish(SYSTEM_METRICS, SYSTEM_METRICS, {"cpu_usage": 3.0})
    with subprocess.Popen(
        ["node", str(SCRIPT), portal.url, watcher.key, MODEL_EVENTS],
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        lines = (json.loads(line) for line in process.stdout)
        assert next(lines) == ["subscribed", {"success": True, "streams": [MODEL_EVENTS]}]
        name, envelope = next(lines)
        assert (name, envelope["data"]) == ("monitor_data", {"cpu_usage": 3.0})
        assert next(lines) == ["monitored", {"success": True}]
        publish(MODEL_EVENTS, "model_ready", {"model": "m"})
        publish(MODEL_EVENTS, "done", {})
        name, envelope = next(lines)
        assert (name, envelope["event_type"], envelope["data"]) == (
            MODEL_EVENTS,
            "model_ready",
            {"model": "m"},
        )
        assert process.wait(PATIENCE) == 0


def test_the_official_client_of_javascript_is_refused_with_the_reason(portal: Portal) -> None:
    done = subprocess.run(
        ["node", str(SCRIPT), portal.url, "wrong", MODEL_EVENTS],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=True,
    )
    name, data = json.loads(done.stdout)
    assert (name, data["error"]["code"]) == ("refused", "AUTHENTICATION_FAILED")
