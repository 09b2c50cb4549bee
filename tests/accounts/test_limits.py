"""How often a caller may call: counted exactly, per person, whatever the request looks like."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings as project_settings
from django.db import connection
from django.test import Client

from accounts import limits
from accounts.limit_status import limits_section
from accounts.models import User
from accounts.services.api_keys import create_api_key
from accounts.services.limits import set_limits
from accounts.services.users import create_user
from monitoring.health import check_health
from tests.accounts.counters import counting_server, hold_the_minute, with_long_minute
from tests.conftest import PASSWORD, Caller

PATH = "/api/me/limits"


@pytest.fixture(autouse=True)
def real_counters(redis_client: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """All of this counts on a real server."""
    hold_the_minute(monkeypatch)


def limit(caller: Caller, value: int | None, name: str = "system_per_minute") -> None:
    set_limits(actor=None, subject=f"user:{caller.user.username}", **{name: value})


def second_key(caller: Caller) -> Caller:
    _, text = create_api_key(actor=None, user=caller.user, name="second")
    return Caller(caller.user, str(text))


def test_every_answer_says_what_is_left(member: Caller) -> None:
    limit(member, 5)
    left = []
    for _ in range(3):
        answer = member.get(PATH)
        assert answer.status_code == 200
        assert answer.headers["X-RateLimit-Limit"] == "5"
        assert 1 <= int(answer.headers["X-RateLimit-Reset"]) <= 60
        left.append(answer.headers["X-RateLimit-Remaining"])
    assert left == ["4", "3", "2"]


def test_the_request_after_the_last_is_refused_and_told_when_to_return(member: Caller) -> None:
    limit(member, 2)
    assert [member.get(PATH).status_code for _ in range(3)] == [200, 200, 429]
    refused = member.get(PATH)
    error = refused.json()["error"]
    assert error["code"] == "RATE_LIMIT_EXCEEDED"
    assert "2 requests a minute" in error["message"]
    assert "system_per_minute" in error["message"]
    assert error["details"]["source"] == "user"
    assert refused.headers["Retry-After"] == str(error["details"]["resets_in"])
    assert refused.headers["X-RateLimit-Remaining"] == "0"
    assert refused.headers["X-Request-ID"]


def test_errors_after_the_count_carry_the_headers_too(member: Caller, model: Any) -> None:
    for path in ("/api/models/none-such", "/api/usage?group_by=nonsense"):
        answer = member.get(path)
        assert answer.status_code in (400, 404)
        assert answer.headers["X-RateLimit-Limit"] == "300"
    refused = member.post("/api/infer", {"text": ""})
    assert refused.status_code == 400
    assert refused.headers["X-RateLimit-Limit"] == "100"


def test_refused_calls_count_and_carry_the_headers_too(guest: Caller, member: Caller) -> None:
    set_limits(actor=None, subject=f"user:{guest.user.username}", inference_per_minute=2)
    answers = [guest.post("/api/infer", {"text": "hi"}) for _ in range(3)]
    assert [answer.status_code for answer in answers] == [403, 403, 429]
    assert [answer["X-RateLimit-Remaining"] for answer in answers] == ["1", "0", "0"]
    stranger = Client().get("/api/models")
    assert stranger.status_code == 401
    assert int(stranger["X-RateLimit-Remaining"]) == int(stranger["X-RateLimit-Limit"]) - 1


def test_groups_are_counted_apart(member: Caller) -> None:
    limit(member, 1)
    limit(member, 1, "inference_per_minute")
    assert [member.get(PATH).status_code for _ in range(2)] == [200, 429]
    assert [member.post("/api/infer", {}).status_code for _ in range(2)] == [400, 429]
    assert member.post("/api/stream_infer", {}).status_code == 429


BYPASSES: list[tuple[str, dict[str, str]]] = [
    (PATH, {"X-Forwarded-For": "203.0.113.9"}),
    (PATH, {"X-Real-IP": "203.0.113.9", "Forwarded": "for=203.0.113.9"}),
    ("/api/v1/me/limits", {}),
    (f"{PATH}?x=1", {}),
    ("/api/me", {}),
    ("/api/usage", {"Accept": "text/csv"}),
]


@pytest.mark.parametrize(("path", "headers"), BYPASSES)
def test_no_disguise_gets_past(member: Caller, path: str, headers: dict[str, str]) -> None:
    limit(member, 1)
    assert member.get(PATH).status_code == 200
    assert Client().get(path, headers={**member.headers, **headers}).status_code == 429


def test_neither_another_address_nor_spelling_of_the_key_gets_past(member: Caller) -> None:
    limit(member, 1)
    assert member.get(PATH).status_code == 200
    for headers in (
        {"Authorization": f"bearer {member.key}"},
        {"Authorization": f"BEARER  {member.key}"},
        {"X-API-Key": member.key},
        {"x-api-key": member.key},
    ):
        assert Client(REMOTE_ADDR="203.0.113.9").get(PATH, headers=headers).status_code == 429
    # Another spelling of the secret is no key at all, and a slash more is no address.
    swapped = {"Authorization": f"Bearer {member.key.swapcase()}"}
    assert Client().get(PATH, headers=swapped).status_code == 401
    assert member.get(f"{PATH}/").status_code == 404


@pytest.mark.parametrize("method", ["HEAD", "OPTIONS", "POST", "DELETE"])
def test_every_method_counts(member: Caller, method: str) -> None:
    limit(member, 1)
    Client().generic(method, PATH, headers=member.headers)
    assert member.get(PATH).status_code == 429
    assert Client().generic(method, PATH, headers=member.headers).status_code == 429


def test_a_second_key_and_a_session_share_the_count(member: Caller) -> None:
    limit(member, 2)
    browser = Client()
    browser.force_login(member.user, backend="accounts.backends.RoleBackend")
    assert member.get(PATH).status_code == 200
    assert second_key(member).get(PATH).status_code == 200
    assert browser.get(PATH).status_code == 429


def test_a_key_with_its_own_rate_is_held_to_both(member: Caller) -> None:
    narrow = second_key(member)
    set_limits(actor=None, subject=f"key:{narrow.key[3:11]}", system_per_minute=2)
    limit(member, 3)
    assert narrow.get(PATH).headers["X-RateLimit-Limit"] == "2"
    assert narrow.get(PATH).status_code == 200
    refused = narrow.get(PATH)
    assert refused.status_code == 429
    assert refused.json()["error"]["details"]["subject"] == "key"
    # What the key was refused has counted for its owner.
    assert member.get(PATH).json()["error"]["details"]["subject"] == "user"


def test_one_caller_costs_another_nothing(member: Caller, operator: Caller) -> None:
    limit(member, 0)
    assert member.get(PATH).status_code == 429
    assert operator.get(PATH).status_code == 200


def test_a_user_comes_before_the_role_and_the_role_before_the_configuration(
    member: Caller,
) -> None:
    def value() -> str:
        return str(member.get(PATH).headers["X-RateLimit-Limit"])

    assert value() == "300"
    set_limits(actor=None, subject="role:user", system_per_minute=50)
    assert value() == "50"
    limit(member, 40)
    assert value() == "40"
    limit(member, None)
    assert value() == "50"
    limit(member, -1)
    unlimited = member.get(PATH)
    assert unlimited.headers["X-RateLimit-Limit"] == "-1"
    assert unlimited.headers["X-RateLimit-Remaining"] == "-1"


def test_a_changed_limit_forgives_nothing(member: Caller) -> None:
    limit(member, 3)
    for _ in range(3):
        member.get(PATH)
    limit(member, 4)
    assert [member.get(PATH).status_code for _ in range(2)] == [200, 429]


def test_strangers_are_counted_by_address(db: None) -> None:
    here, there = Client(REMOTE_ADDR="203.0.113.1"), Client(REMOTE_ADDR="203.0.113.2")
    first = here.get("/api/schema/")
    second = here.get("/api/schema/", headers={"X-Forwarded-For": "203.0.113.9"})
    other = there.get("/api/schema/")
    remaining = [answer.headers["X-RateLimit-Remaining"] for answer in (first, second, other)]
    assert remaining == ["299", "298", "299"]


def test_the_addresses_of_one_ipv6_network_count_together(db: None) -> None:
    addresses = ("2001:db8:1:2::1", "2001:db8:1:2:ffff::9", "2001:db8:1:3::1")
    answers = [Client(REMOTE_ADDR=address).get("/api/schema/") for address in addresses]
    remaining = [answer.headers["X-RateLimit-Remaining"] for answer in answers]
    assert remaining == ["299", "298", "299"]


# ---------------------------------------------------------------- two processes at once

_CALLERS = """
import sys, threading
import django
django.setup()
from django.conf import settings
from django.db import connections
settings.RATELIMIT_CACHE_PREFIX = sys.argv[2]
connections.databases["default"]["NAME"] = sys.argv[1]
from django.test import Client
gate, codes = threading.Barrier(100), []

def call():
    gate.wait()
    headers = {"Authorization": "Bearer " + sys.argv[3]}
    codes.append(Client(HTTP_HOST="localhost").get("/api/me/limits", headers=headers).status_code)
    connections.close_all()

threads = [threading.Thread(target=call) for _ in range(100)]
[thread.start() for thread in threads]
[thread.join() for thread in threads]
print(codes.count(200), codes.count(429), len(codes))
"""


@pytest.mark.django_db(transaction=True)
def test_two_hundred_at_once_from_two_processes_admit_exactly_the_limit(
    django_db_serialized_rollback: None, settings: Any, tmp_path: Path
) -> None:
    def make(number: int) -> User:
        return create_user(actor=None, username=f"caller-{number}", password=PASSWORD, role="user")

    user = with_long_minute(make)
    _, key = create_api_key(actor=None, user=user, name="many")
    set_limits(actor=None, subject=f"user:{user.username}", system_per_minute=100)
    program = tmp_path / "callers.py"
    program.write_text(_CALLERS)
    name = str(connection.settings_dict["NAME"])
    arguments = [sys.executable, str(program), name, settings.RATELIMIT_CACHE_PREFIX, str(key)]
    root = project_settings.BASE_DIR
    children = [
        subprocess.Popen(
            arguments, cwd=root, env=child_environment(), stdout=subprocess.PIPE, text=True
        )
        for _ in range(2)
    ]
    counts = [child.communicate(timeout=120)[0].split() for child in children]
    assert [child.returncode for child in children] == [0, 0]
    admitted = sum(int(count[0]) for count in counts)
    refused = sum(int(count[1]) for count in counts)
    assert (admitted, refused) == (100, 100)


def child_environment() -> dict[str, str]:
    return {
        **os.environ,
        "PYTHONPATH": str(project_settings.BASE_DIR),
        "DJANGO_SETTINGS_MODULE": "llamagpu.settings",
    }


# ---------------------------------------------------------------- without Redis


@pytest.fixture
def stopped_server(settings: Any, tmp_path: Path) -> Iterator[None]:
    """Counters on a server of its own that has counted and is then ended."""
    with counting_server(tmp_path, settings) as server:
        assert limits.redis_counts()
        server.terminate()
        server.wait()
        yield


def test_open_serves_what_cannot_be_counted(member: Caller, stopped_server: None) -> None:
    answer = member.get(PATH)
    assert answer.status_code == 200
    assert "X-RateLimit-Limit" not in answer.headers
    assert member.post("/api/infer", {}).status_code == 400


def test_closed_refuses_inference_and_leaves_the_status_within_reach(
    member: Caller, stopped_server: None, settings: Any
) -> None:
    settings.LLAMA = replace(settings.LLAMA, limits_without_redis="closed")
    refused = member.post("/api/infer", {})
    assert refused.status_code == 503
    assert refused.json()["error"]["code"] == "BACKEND_UNAVAILABLE"
    assert "LLAMA_LIMITS_WITHOUT_REDIS" in refused.json()["error"]["message"]
    assert refused.headers["Retry-After"]
    assert member.get(PATH).status_code == 200


def test_status_and_readiness_say_so(member: Caller, stopped_server: None) -> None:
    assert not limits.redis_counts()
    (probe,) = [probe for probe in check_health() if probe.name == "limits"]
    assert not probe.healthy
    assert "inference is not limited" in probe.detail
    section = limits_section()
    assert section["counting"] is False
    assert section["without_redis"] == "open"
    assert "nobody can sign in" in section["note"]


def test_counting_goes_on_when_the_server_is_back(
    member: Caller, settings: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "_PAUSE", 0.0)
    with counting_server(tmp_path, settings) as server:
        assert member.get(PATH).headers["X-RateLimit-Remaining"] == "299"
        server.terminate()
        server.wait()
        assert "X-RateLimit-Remaining" not in member.get(PATH).headers
        with counting_server(tmp_path, settings):
            assert int(member.get(PATH).headers["X-RateLimit-Remaining"]) < 300
