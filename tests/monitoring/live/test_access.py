"""Who may open a live socket, watch which stream, and for how long."""

from __future__ import annotations

import socket as sockets
from contextlib import ExitStack
from typing import Any

import pytest
from django.contrib.sessions.models import Session
from django.test import Client
from django.utils import timezone

from accounts.models import ApiKey, RolePermission, User
from accounts.services.api_keys import change_api_key, create_api_key, revoke_api_key
from accounts.services.roles import create_role
from accounts.services.sessions import end_sessions
from accounts.services.users import change_user
from monitoring.live.streams import RULES
from monitoring.live_events import MODEL_EVENTS, PLUGIN_EVENTS, STREAMS, SYSTEM_METRICS
from tests.conftest import Caller, make_caller
from tests.e2e.conftest import wait_until
from tests.live_portal import Portal

pytestmark = [
    pytest.mark.django_db(transaction=True, serialized_rollback=True),
    pytest.mark.usefixtures("redis_client"),
]
STREAM = "/ws/stream/"


def cookie_of(caller: Caller) -> str:
    browser = Client()
    browser.force_login(User.objects.get(pk=caller.user.pk))
    return f"sessionid={browser.cookies['sessionid'].value}"


def by_session(portal: Portal, cookie: str, origin: str | None = "") -> Any:
    own = portal.url if origin == "" else origin
    return portal.open(STREAM, headers={"Cookie": cookie}, origin=own)


def refused(opened: Any) -> int:
    """The code with which the server closes at once."""
    with opened as socket:
        code, said = socket.end()
        assert [message["event_type"] for message in said] == ["error"]
        return int(code)


@pytest.mark.parametrize("role", ["admin", "operator", "user", "guest"])
def test_each_role_watches_exactly_what_the_matrix_says(role: str, portal: Portal) -> None:
    caller = make_caller(role)
    granted = {
        cell.resource for cell in RolePermission.objects.filter(role__slug=role, can_read=True)
    }
    may = {stream for stream in STREAMS if RULES[stream].resource in granted}
    assert may == set(STREAMS), "in the SDD's matrix every role reads all three resources"
    # The same with each cell taken away in turn.
    for stream in STREAMS:
        resource = RULES[stream].resource
        cells = RolePermission.objects.filter(role__slug=role, resource=resource)
        before = cells.values("can_read", "can_write").get()
        cells.update(can_read=False, can_write=False)
        with portal.open(STREAM, caller.key) as socket:
            for other in STREAMS:
                socket.say({"action": "subscribe", "streams": [other]})
                answer = socket.read()
                is_refused = RULES[other].resource == resource
                assert answer["event_type"] == ("error" if is_refused else "subscribed"), other
        cells.update(**before)


def test_a_key_watches_no_more_than_its_scopes(portal: Portal) -> None:
    caller = make_caller("admin", ("models:read",))
    with portal.open(STREAM, caller.key) as socket:
        socket.say({"action": "subscribe", "streams": [MODEL_EVENTS, SYSTEM_METRICS]})
        assert socket.error() == "PERMISSION_DENIED"
        socket.say({"action": "subscribe", "streams": [MODEL_EVENTS]})
        assert socket.read()["data"]["streams"] == [MODEL_EVENTS], "all or nothing"


def test_a_key_for_none_of_the_streams_is_not_let_in(portal: Portal) -> None:
    caller = make_caller("admin", ("infer",))
    assert refused(portal.open(STREAM, caller.key)) == 4403


def test_strangers_and_wrong_keys_are_not_let_in(portal: Portal) -> None:
    caller = make_caller("user")
    assert refused(portal.open(STREAM)) == 4401
    assert refused(portal.open(STREAM, "nonsense")) == 4401
    wrong = caller.key[:-1] + ("x" if caller.key[-1] != "x" else "y")
    assert refused(portal.open(STREAM, wrong)) == 4401
    revoke_api_key(actor=None, key=ApiKey.objects.get())
    assert refused(portal.open(STREAM, caller.key)) == 4401


def test_a_key_in_the_address_is_refused_even_beside_a_good_one(portal: Portal) -> None:
    caller = make_caller("user")
    for query in (f"?token={caller.key}", f"?anything={caller.key}", "?api_key=1"):
        assert refused(portal.open(STREAM + query, caller.key)) == 4401


def test_a_key_comes_in_any_of_its_ways(portal: Portal) -> None:
    key = make_caller("user").key
    for options in (
        {"headers": {"X-API-Key": key}},
        {"headers": {"Authorization": f"bearer {key}"}},
        {"subprotocols": ["llamagpu.v1", f"key.{key}"]},
    ):
        with portal.open(STREAM, **options) as socket:
            socket.say({"action": "ping"})
            assert socket.read()["event_type"] == "pong"
            named = "llamagpu.v1" if "subprotocols" in options else None
            assert socket.connection.subprotocol == named, "the key is never named back"


def test_two_keys_are_no_key(portal: Portal) -> None:
    one, two = make_caller("user").key, make_caller("operator").key
    assert refused(portal.open(STREAM, one, headers={"X-API-Key": two})) == 4401


def test_a_wrong_key_does_not_fall_back_to_the_cookie(portal: Portal) -> None:
    cookie = cookie_of(make_caller("user"))
    opened = portal.open(STREAM, "nonsense", headers={"Cookie": cookie}, origin=portal.url)
    assert refused(opened) == 4401


def test_a_session_counts_only_from_pages_of_the_portal(portal: Portal) -> None:
    cookie = cookie_of(make_caller("user"))
    with by_session(portal, cookie) as socket:
        socket.say({"action": "ping"})
        assert socket.read()["event_type"] == "pong"
    evil = "http://evil.example"
    others = (
        None,
        "null",
        evil,
        f"http://127.0.0.1.evil.example:{portal.port}",
        f"https://127.0.0.1:{portal.port}",
    )
    for origin in (*others, "http://127.0.0.1:1"):
        assert refused(by_session(portal, cookie, origin)) == 4403, origin
    assert refused(by_session(portal, "sessionid=unknown")) == 4401
    # A program's page may be anywhere: it has a key.
    with portal.open(STREAM, make_caller("operator").key, origin=evil) as socket:
        socket.say({"action": "ping"})
        assert socket.read()["event_type"] == "pong"


def test_a_host_that_is_not_ours_is_refused(portal: Portal) -> None:
    caller = make_caller("user")
    with sockets.create_connection(("127.0.0.1", portal.port), timeout=20) as raw:
        raw.sendall(
            b"GET /ws/stream/ HTTP/1.1\r\nHost: evil.example\r\nUpgrade: websocket\r\n"
            b"Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
            b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
            b"Authorization: Bearer " + caller.key.encode() + b"\r\n\r\n"
        )
        received = b""
        while (4403).to_bytes(2, "big") not in received:
            block = raw.recv(4096)
            assert block, received
            received += block


def test_a_key_is_bound_to_its_addresses(portal: Portal) -> None:
    caller = make_caller("user")
    change_api_key(actor=None, key=ApiKey.objects.get(), changes={"allowed_ips": ["192.0.2.0/24"]})
    assert refused(portal.open(STREAM, caller.key)) == 4403


def lose(portal: Portal, key: str, change: Any) -> tuple[int, str]:
    """Watch with `key`, let `change` happen: the close code, and what was said before."""
    with portal.watch(key, MODEL_EVENTS) as socket:
        change()
        code, said = socket.end()
        return code, said[-1]["data"]["error"]["code"]


def test_what_takes_a_right_ends_open_sockets(portal: Portal) -> None:
    caller = make_caller("user")
    cells = RolePermission.objects.filter(role__slug="user", resource="models")
    lost = lose(portal, caller.key, lambda: cells.update(can_read=False, can_write=False))
    assert lost == (4403, "PERMISSION_DENIED")
    cells.update(can_read=True)
    key = ApiKey.objects.get()
    narrowed = {"scopes": ["infer"]}
    lost = lose(portal, caller.key, lambda: change_api_key(actor=None, key=key, changes=narrowed))
    assert lost == (4403, "PERMISSION_DENIED")
    change_api_key(actor=None, key=key, changes={"scopes": []})
    lost = lose(portal, caller.key, lambda: revoke_api_key(actor=None, key=key))
    assert lost == (4401, "AUTHENTICATION_FAILED")
    _, second = create_api_key(actor=None, user=caller.user, name="second", scopes=())
    user = User.objects.get(pk=caller.user.pk)

    def deactivate() -> None:
        change_user(actor=None, user=user, is_active=False)

    assert lose(portal, str(second), deactivate) == (4401, "AUTHENTICATION_FAILED")


def test_a_role_without_the_right_ends_what_it_watches(portal: Portal) -> None:
    create_role(actor=None, slug="reader", name="Reader", rights={"plugins": "R"})
    caller = make_caller("operator")

    def demote() -> None:
        user = User.objects.get(pk=caller.user.pk)
        change_user(actor=None, user=user, role="reader")

    assert lose(portal, caller.key, demote) == (4403, "PERMISSION_DENIED")
    with portal.watch(caller.key, PLUGIN_EVENTS) as socket:
        socket.say({"action": "subscribe", "streams": [MODEL_EVENTS]})
        assert socket.error() == "PERMISSION_DENIED"


def test_an_ended_session_ends_its_sockets(portal: Portal) -> None:
    caller = make_caller("user")

    def sign_out(cookie: str) -> None:
        browser = Client()
        browser.cookies.load(cookie)
        assert browser.post("/logout/").status_code in (200, 302)

    def run_out(cookie: str) -> None:
        Session.objects.update(expire_date=timezone.now())

    def end_all(cookie: str) -> None:
        end_sessions(actor=None, user=User.objects.get(pk=caller.user.pk))

    for end in (sign_out, run_out, end_all):
        cookie = cookie_of(caller)
        with by_session(portal, cookie) as socket:
            socket.say({"action": "ping"})
            socket.next("pong")
            end(cookie)
            code, _ = socket.end()
            assert code == 4401, end.__name__


def test_one_user_and_one_key_have_so_many_sockets(portal: Portal) -> None:
    caller = make_caller("user")
    _, second = create_api_key(actor=None, user=caller.user, name="second", scopes=())
    with ExitStack() as opened:
        for _ in range(3):
            opened.enter_context(portal.watch(caller.key, MODEL_EVENTS))
        assert refused(portal.open(STREAM, caller.key)) == 4429
        for _ in range(2):
            opened.enter_context(portal.watch(str(second), MODEL_EVENTS))
        assert refused(portal.open(STREAM, str(second))) == 4429, "five of one user"

    # Their places are free again once the server has noticed.
    def is_let_in() -> bool:
        with portal.open(STREAM, caller.key) as socket:
            socket.say({"action": "ping"})
            return socket.read()["event_type"] == "pong"

    wait_until(is_let_in, "a place is free")
