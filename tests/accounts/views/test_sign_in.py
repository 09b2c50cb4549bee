from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from axes.models import AccessAttempt
from django.contrib.sessions.models import Session
from django.test import Client
from django.utils import timezone

from accounts import sign_in_gate
from accounts.services.sessions import end_sessions
from accounts.services.users import change_user
from llamagpu.http.errors import AppError
from monitoring.models import AuditLog
from tests.conftest import PASSWORD, Caller

SignIn = Callable[..., Any]


def is_signed_in(browser: Client) -> bool:
    return browser.get("/account/").status_code == 200


def actions() -> list[str]:
    return list(AuditLog.objects.order_by("id").values_list("action", flat=True))


def test_the_right_password_opens_a_session(
    member: Caller, browser: Client, sign_in: SignIn
) -> None:
    answer = sign_in("the-user")
    assert (answer.status_code, answer.url) == (302, "/")
    assert is_signed_in(browser)
    row = AuditLog.objects.get(action="session.logged_in")
    assert row.actor == member.user
    assert row.ip == "127.0.0.1"
    assert row.data == {"method": "password"}


def test_the_session_gets_a_new_key_at_sign_in(
    member: Caller, browser: Client, sign_in: SignIn
) -> None:
    planted = browser.session  # a session of nobody, as an attacker would plant it
    planted["seen"] = True
    planted.save()
    sign_in("the-user")
    assert browser.session.session_key != planted.session_key
    assert not Session.objects.filter(session_key=planted.session_key).exists()


def test_a_wrong_password_and_an_unknown_name_get_the_same_answer(
    member: Caller, browser: Client, sign_in: SignIn
) -> None:
    wrong = sign_in("the-user", "not the password")
    unknown = sign_in("nobody", "not the password")
    assert wrong.status_code == unknown.status_code == 200
    assert wrong.context["form"].errors == unknown.context["form"].errors
    assert not is_signed_in(browser)


def test_a_failed_sign_in_is_written_down_without_what_was_typed(
    member: Caller, sign_in: SignIn
) -> None:
    sign_in("the-user", "wrong-secret-1")
    sign_in("Tr0ub4dor&3", "wrong-secret-2")
    known, unknown = AuditLog.objects.filter(action="session.login_failed").order_by("id")
    assert (known.target_name, unknown.target_name) == ("the-user", "")
    assert known.outcome == "refused"
    kept = str(list(AuditLog.objects.values())) + str(list(AccessAttempt.objects.values()))
    assert "wrong-secret" not in kept
    assert "Tr0ub4dor" not in kept


def test_a_deactivated_user_is_refused_like_a_wrong_password(
    member: Caller, browser: Client, sign_in: SignIn
) -> None:
    change_user(actor=None, user=member.user, is_active=False)
    assert "is wrong" in sign_in("the-user").content.decode()
    assert not is_signed_in(browser)


@pytest.mark.parametrize(
    "target", ["https://evil.example/", "//evil.example", "/\\evil.example", "javascript:alert(1)"]
)
def test_the_way_on_stays_on_this_site(member: Caller, sign_in: SignIn, target: str) -> None:
    assert sign_in("the-user", next=target).url == "/"


def test_a_page_that_needs_a_session_comes_back_after_it(
    member: Caller, browser: Client, sign_in: SignIn
) -> None:
    refused = browser.get("/account/password/?a=1")
    assert refused.url == "/login/?next=%2Faccount%2Fpassword%2F%3Fa%3D1"
    assert sign_in("the-user", next="/account/password/?a=1").url == "/account/password/?a=1"


def test_who_is_signed_in_is_sent_on(member: Caller, browser: Client, sign_in: SignIn) -> None:
    sign_in("the-user")
    assert browser.get("/login/?next=/account/").url == "/account/"


def test_signing_out_takes_a_post_and_is_written_down(
    member: Caller, browser: Client, sign_in: SignIn
) -> None:
    sign_in("the-user")
    assert browser.get("/logout/").status_code == 405
    assert is_signed_in(browser)
    assert browser.post("/logout/").url == "/login/"
    assert not is_signed_in(browser)
    assert actions()[-1] == "session.logged_out"
    assert browser.post("/logout/").url == "/login/"


def test_the_form_needs_its_token(member: Caller) -> None:
    strict = Client(enforce_csrf_checks=True)
    form = {"username": "the-user", "password": PASSWORD}
    assert strict.post("/login/", form).status_code == 403


def test_nothing_of_the_sign_in_is_cached(browser: Client, db: None) -> None:
    assert "no-store" in browser.get("/login/").headers["Cache-Control"]


def test_django_admin_signs_in_here(browser: Client, db: None) -> None:
    assert browser.get("/admin/").url.startswith("/admin/login/")
    assert browser.get("/admin/login/?next=/admin/").url == "/login/?next=%2Fadmin%2F"
    assert browser.post("/admin/login/", {"username": "x", "password": "y"}).status_code == 302


# ------------------------------------------------------------------ locks


def test_five_failures_lock_the_name_for_the_address(
    member: Caller, browser: Client, sign_in: SignIn
) -> None:
    for _ in range(4):
        assert sign_in("the-user", "wrong").status_code == 200
    locked = sign_in("the-user", "wrong")
    assert locked.status_code == 429
    assert 800 < int(locked.headers["Retry-After"]) <= 901
    assert "Try again in 15 minutes" in locked.content.decode()
    right = sign_in("the-user")
    assert right.status_code == 429
    assert not is_signed_in(browser)
    assert actions().count("session.login_locked") == 1


def test_another_address_and_another_name_are_not_locked(
    member: Caller, guest: Caller, browser: Client, sign_in: SignIn
) -> None:
    for _ in range(5):
        sign_in("the-user", "wrong")
    assert sign_in("the-guest").status_code == 302
    assert sign_in("the-user", REMOTE_ADDR="10.0.0.9").status_code == 302


def test_a_made_up_forwarded_address_unlocks_nothing(member: Caller, sign_in: SignIn) -> None:
    for number in range(5):
        sign_in("the-user", "wrong", headers={"X-Forwarded-For": f"10.1.1.{number}"})
    assert sign_in("the-user", headers={"X-Forwarded-For": "10.2.2.2"}).status_code == 429


def test_one_ipv6_subscriber_is_one_address(member: Caller, sign_in: SignIn) -> None:
    for number in range(5):
        sign_in("the-user", "wrong", REMOTE_ADDR=f"2001:db8:1:2::{number}")
    assert sign_in("the-user", REMOTE_ADDR="2001:db8:1:2:ffff::9").status_code == 429
    assert sign_in("the-user", REMOTE_ADDR="2001:db8:1:3::9").status_code == 302


def test_trying_on_does_not_prolong_the_lock(member: Caller, sign_in: SignIn) -> None:
    for _ in range(5):
        sign_in("the-user", "wrong")
    AccessAttempt.objects.update(attempt_time=timezone.now() - timedelta(seconds=600))
    assert int(sign_in("the-user", "wrong").headers["Retry-After"]) <= 301
    AccessAttempt.objects.update(attempt_time=timezone.now() - timedelta(seconds=901))
    assert sign_in("the-user").status_code == 302


def test_a_sign_in_forgets_the_failures_before_it(member: Caller, sign_in: SignIn) -> None:
    for _ in range(2):
        for _ in range(4):
            sign_in("the-user", "wrong")
        assert sign_in("the-user").status_code == 302


def test_many_names_from_one_address_lock_the_address(
    member: Caller, sign_in: SignIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sign_in_gate, "PER_ADDRESS", 1000)
    for number in range(50):
        assert sign_in(f"guess-{number % 20}", "wrong").status_code in (200, 429)
    assert sign_in("the-user").status_code == 429
    assert sign_in("the-user", REMOTE_ADDR="10.0.0.9").status_code == 302


def test_tries_are_counted_before_the_password_is_looked_at(
    member: Caller, sign_in: SignIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sign_in_gate, "PER_ADDRESS", 3)
    for number in range(3):
        assert sign_in(f"guess-{number}", "wrong").status_code == 200
    refused = sign_in("the-user")
    assert refused.status_code == 429
    assert 0 < int(refused.headers["Retry-After"]) <= 61


def test_no_redis_no_sign_in(
    member: Caller, browser: Client, sign_in: SignIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    import redis

    def gone(*args: Any, **kwargs: Any) -> None:
        raise redis.ConnectionError("gone")

    monkeypatch.setattr(sign_in_gate, "get_usage", gone)
    closed = sign_in("the-user")
    assert closed.status_code == 503
    assert "Signing in is closed" in closed.content.decode()
    assert closed.headers["Retry-After"] == "5"
    assert not is_signed_in(browser)


# ------------------------------------------------------------------ the end of a session


def test_deactivation_ends_every_session(member: Caller, browser: Client, sign_in: SignIn) -> None:
    sign_in("the-user")
    change_user(actor=None, user=member.user, is_active=False)
    assert not is_signed_in(browser)
    change_user(actor=None, user=member.user, is_active=True)
    assert not is_signed_in(browser)


def test_ended_sessions_are_ended_and_it_is_written_down(
    member: Caller, admin: Caller, browser: Client, sign_in: SignIn
) -> None:
    sign_in("the-user")
    end_sessions(actor=admin.user, user=member.user)
    assert not is_signed_in(browser)
    row = AuditLog.objects.get(action="user.sessions_ended")
    assert (row.actor, row.target_name) == (admin.user, "the-user")


def test_less_than_an_admin_ends_no_admins_sessions(
    admin: Caller, operator: Caller, browser: Client, sign_in: SignIn
) -> None:
    sign_in("the-admin")
    with pytest.raises(AppError, match="may not"):
        end_sessions(actor=operator.user, user=admin.user)
    assert is_signed_in(browser)


def test_signing_out_everywhere_else_keeps_this_session(
    member: Caller, browser: Client, sign_in: SignIn
) -> None:
    sign_in("the-user")
    other = Client()
    other.post("/login/", {"username": "the-user", "password": PASSWORD})
    assert is_signed_in(other)
    assert browser.post("/account/sessions/end/").url == "/account/"
    assert is_signed_in(browser)
    assert not is_signed_in(other)
    assert member.get("/api/system/status").status_code == 200
