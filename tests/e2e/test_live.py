"""Live sockets of the whole stack: the programs of docs/live.md, and a right that is lost meanwhile."""

from __future__ import annotations

import uuid
from typing import Any

import httpx
import pytest

from tests.e2e.conftest import LONG, Stack, wait_until
from tests.e2e.page_examples import Example, examples_of, run_example
from tests.e2e.test_streams import web_process
from tests.environment import PROJECT_ROOT
from tests.live_portal import open_socket

EXAMPLES = examples_of("live.md")
SAID = {"Streams": "cpu", "Socket.IO": "cpu", "Inference": "Paris"}


def call(stack: Stack, method: str, path: str, body: Any) -> Any:
    response = httpx.request(
        method, f"{stack.url}{path}", json=body, headers=stack.headers, timeout=60
    )
    assert response.status_code < 300, response.text
    return response.json()


def new_user(stack: Stack, role: str) -> tuple[int, str]:
    """Its id and a key of its own."""
    name = f"live-{uuid.uuid4().hex[:8]}"
    body = {"username": name, "password": uuid.uuid4().hex, "role": role}
    user = call(stack, "POST", "/api/users", body)["user"]
    return user["id"], call(stack, "POST", "/api/keys", {"name": "k", "user": name})["key"]


@pytest.mark.parametrize("title", SAID)
def test_every_socket_has_an_example_in_both_languages(title: str) -> None:
    assert [item.language for item in EXAMPLES if item.title == title] == ["python", "js"]


@pytest.mark.parametrize("example", EXAMPLES, ids=str)
def test_an_example_does_what_it_says(stack: Stack, example: Example) -> None:
    # Where node finds the packages that the examples name.
    assert SAID[example.title] in run_example(stack, example, PROJECT_ROOT)


def test_who_is_demoted_loses_the_open_sockets(stack: Stack) -> None:
    call(
        stack, "POST", "/api/roles", {"slug": "blind", "name": "Blind", "rights": {"plugins": "R"}}
    )
    user, key = new_user(stack, "operator")
    with (
        open_socket(stack.port, "/ws/stream/", key) as watching,
        open_socket(stack.port, "/ws/infer/", key) as asking,
    ):
        watching.say({"action": "subscribe", "streams": ["system_metrics"]})
        watching.next("system_metrics")
        asking.say({"action": "infer", "id": "a", **LONG, "max_tokens": 1000})
        job = asking.next("token")["job_id"]
        call(stack, "PATCH", f"/api/users/{user}", {"role": "blind"})
        for socket in (watching, asking):
            code, said = socket.end()
            assert code == 4403
            assert said[-1]["data"]["error"]["code"] == "PERMISSION_DENIED"
    found = call(stack, "GET", f"/api/jobs/{job}", None)["job"]
    assert found["state"] in ("cancelled", "running")


def test_sockets_are_closed_in_good_order_when_the_server_goes_down(stack: Stack) -> None:
    _, key = new_user(stack, "user")
    with open_socket(stack.port, "/ws/stream/", key) as watching:
        watching.say({"action": "subscribe", "streams": ["system_metrics"]})
        watching.next("system_metrics")
        web_process(stack).terminate()
        assert watching.end()[0] == 1001
    wait_until(lambda: stack.probe() == 200, "the supervisor has started it again", 120)
