from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.utils import timezone

from accounts.key_settings import SCOPE_RIGHTS, check_settings, check_within, usable_scopes
from accounts.models import ApiKey, Role, User
from llamagpu.http.errors import AppError
from llamagpu.http.permissions import Scope
from llamagpu.lib.error_codes import ErrorCode
from tests.conftest import Caller

HOUR = timedelta(hours=1)


def refusal(owner: User, **values: Any) -> AppError:
    with pytest.raises(AppError) as caught:
        check_settings(owner, values)
    assert caught.value.code is ErrorCode.INVALID_INPUT
    return caught.value


def test_every_scope_has_its_right() -> None:
    assert set(SCOPE_RIGHTS) == set(Scope)


@pytest.mark.parametrize(
    ("role", "scopes"),
    [
        ("admin", set(Scope)),
        ("operator", set(Scope)),
        ("user", {"infer", "batch", "models:read", "plugins:read", "metrics"}),
        ("guest", {"models:read", "plugins:read", "metrics"}),
    ],
)
@pytest.mark.django_db
def test_a_role_can_use_the_scopes_of_its_rights(role: str, scopes: set[str]) -> None:
    assert set(usable_scopes(User(role=Role.objects.get(slug=role)))) == scopes


@pytest.mark.parametrize("scope", ["models:write", "plugins:write", "audit", "admin"])
def test_a_scope_above_the_owners_role_is_refused_by_name(member: Caller, scope: str) -> None:
    error = refusal(member.user, scopes=["infer", scope])
    assert error.message.startswith(f"scopes: '{scope}' is more than the role 'user'")
    assert error.details[0]["field"] == "scopes"


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("name", ""),
        ("name", "  "),
        ("name", "x" * 101),
        ("name", "a\x00b"),
        ("name", "a\nb"),
        ("name", 5),
        ("scopes", "infer"),
        ("scopes", [5]),
        ("scopes", ["everything"]),
        ("allowed_models", ["Upper"]),
        ("allowed_models", [""]),
        ("allowed_models", ["../etc"]),
        ("allowed_models", [f"m{n}" for n in range(65)]),
        ("allowed_ips", ["10.0.0.256"]),
        ("allowed_ips", ["10.0.0.1/8"]),
        ("allowed_ips", ["10.0.0.0/33"]),
        ("allowed_ips", ["localhost"]),
        ("allowed_ips", ["fe80::1%eth0"]),
        ("allowed_ips", [""]),
        ("expires_at", "tomorrow"),
        ("expires_at", datetime(2000, 1, 1, tzinfo=UTC)),
        ("expires_at", datetime(2999, 1, 1)),  # noqa: DTZ001  the missing zone is the point
        ("digest", "x"),
        ("user", 1),
    ],
)
def test_a_setting_that_cannot_be_is_refused_by_name(
    member: Caller, field: str, value: Any
) -> None:
    assert refusal(member.user, **{field: value}).message.startswith(f"{field}: ")


def test_settings_are_stored_in_one_form(member: Caller) -> None:
    checked = check_settings(
        member.user,
        {
            "name": " mine ",
            "scopes": ["models:read", "infer", "infer"],
            "allowed_ips": ["10.0.0.5/32", "2001:DB8::/32", "10.0.0.5"],
            "expires_at": None,
        },
    )
    assert checked == {
        "name": "mine",
        "scopes": ["infer", "models:read"],
        "allowed_ips": ["10.0.0.5", "2001:db8::/32"],
        "expires_at": None,
    }


OPEN: dict[str, Any] = {
    "name": "n",
    "scopes": [],
    "allowed_models": [],
    "allowed_ips": [],
    "retention": "",
    "expires_at": None,
}


@pytest.mark.parametrize(
    ("field", "bound", "within", "beyond"),
    [
        ("scopes", ["infer", "batch"], ["infer"], ["infer", "metrics"]),
        ("scopes", ["infer"], ["infer"], []),
        ("allowed_models", ["a", "b"], ["b"], ["c"]),
        ("allowed_models", ["a"], ["a"], []),
        ("allowed_ips", ["10.0.0.0/8"], ["10.1.0.0/16", "10.0.0.1"], ["10.0.0.1", "11.0.0.1"]),
        ("allowed_ips", ["10.0.0.0/8"], ["10.0.0.0/8"], []),
        ("allowed_ips", ["2001:db8::/32", "10.0.0.1"], ["2001:db8::1"], ["0.0.0.0/0"]),
    ],
)
def test_a_narrow_key_hands_out_no_wider_one(
    field: str, bound: list[str], within: list[str], beyond: list[str]
) -> None:
    key = ApiKey(**{field: bound})
    check_within({**OPEN, field: within}, key)
    with pytest.raises(AppError, match=f"^{field}: ") as caught:
        check_within({**OPEN, field: beyond}, key)
    assert caught.value.code is ErrorCode.PERMISSION_DENIED


def test_a_key_that_ends_hands_out_none_that_lives_longer() -> None:
    end = timezone.now() + HOUR
    key = ApiKey(expires_at=end)
    check_within({**OPEN, "expires_at": end}, key)
    for later in (None, end + HOUR):
        with pytest.raises(AppError, match=r"^expires_at: "):
            check_within({**OPEN, "expires_at": later}, key)


def test_an_open_key_hands_out_anything() -> None:
    check_within(OPEN, ApiKey())


@pytest.mark.parametrize(
    ("bound", "within", "beyond"),
    [("30d", ["30d", "1d", "hash", "none"], ["", "31d", "full"]), ("none", ["none"], ["hash"])],
)
def test_a_key_hands_out_none_that_keeps_longer(
    bound: str, within: list[str], beyond: list[str]
) -> None:
    key = ApiKey(retention=bound)
    for policy in within:
        check_within({**OPEN, "retention": policy}, key)
    for policy in beyond:
        with pytest.raises(AppError, match=r"^retention: "):
            check_within({**OPEN, "retention": policy}, key)


@pytest.mark.parametrize("policy", ["0d", "3651d", "ever", "30 d", "FULL", 7, None])
def test_a_retention_that_is_none_is_refused_by_name(member: Caller, policy: Any) -> None:
    with pytest.raises(AppError, match=r"^retention: "):
        check_settings(member.user, {"retention": policy})
