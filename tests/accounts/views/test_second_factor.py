from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest
from django.core.management import call_command
from django.test import Client
from django_otp.oath import TOTP
from django_otp.plugins.otp_totp.models import TOTPDevice

from accounts import pending_sign_in
from accounts.models import RecoveryCode
from accounts.services import second_factor
from accounts.services.sessions import SignInMethod
from llamagpu.http.errors import AppError
from llamagpu.lib.sign_in_config import TotpPolicy
from monitoring.models import AuditLog
from tests.conftest import PASSWORD, Caller

SignIn = Callable[..., Any]


@pytest.fixture(autouse=True)
def offered(sign_in_settings: Callable[..., None]) -> None:
    sign_in_settings(totp=TotpPolicy.OPTIONAL)


def code_of(user: Any, steps: int = 0) -> str:
    """What the app of `user` shows now, or some steps of 30 seconds later."""
    device = TOTPDevice.objects.get(user=user)
    totp = TOTP(device.bin_key, device.step, device.t0, device.digits, device.drift)
    totp.time = time.time() + steps * device.step
    return f"{totp.token():06d}"


def enrol(user: Any) -> list[str]:
    second_factor.enrolment_of(user=user)
    codes = second_factor.confirm_enrolment(user=user, code=code_of(user))
    assert codes is not None
    # The code of enrolment is used up: let the next one be fresh.
    TOTPDevice.objects.filter(user=user).update(last_t=-1)
    return codes


def is_signed_in(browser: Client) -> bool:
    return browser.get("/account/").status_code == 200


def test_it_is_off_unless_asked_for(
    member: Caller,
    browser: Client,
    sign_in: SignIn,
    sign_in_settings: Callable[..., None],
) -> None:
    sign_in_settings(totp=TotpPolicy.OFF)
    sign_in("the-user")
    assert "passwords alone" in browser.get("/account/second-factor/").content.decode()
    assert browser.get("/account/second-factor/enrol/").status_code == 404
    assert browser.post("/account/second-factor/enrol/", {"code": "123456"}).status_code == 404
    assert TOTPDevice.objects.count() == 0


def test_turning_it_on_shows_the_secret_and_then_the_recovery_codes_once(
    member: Caller, browser: Client, sign_in: SignIn
) -> None:
    sign_in("the-user")
    page = browser.get("/account/second-factor/enrol/")
    device = TOTPDevice.objects.get(user=member.user)
    assert second_factor.secret_text(device) in page.content.decode()
    assert 'src="data:image/svg+xml' in page.content.decode()
    assert "no-store" in page.headers["Cache-Control"]
    assert " style=" not in page.content.decode()
    other = Client()
    other.force_login(member.user)
    done = browser.post("/account/second-factor/enrol/", {"code": code_of(member.user)})
    codes = done.context["codes"]
    assert len(set(codes)) == 10
    assert all(code in done.content.decode() for code in codes)
    assert "no-store" in done.headers["Cache-Control"]
    assert codes[0] not in browser.get("/account/second-factor/").content.decode()
    kept = str(list(RecoveryCode.objects.values())) + str(list(AuditLog.objects.values()))
    assert codes[0].replace("-", "") not in kept
    assert device.key not in str(list(AuditLog.objects.values()))
    assert is_signed_in(browser)
    assert not is_signed_in(other)
    assert AuditLog.objects.filter(action="user.second_factor_enabled").count() == 1


def test_a_wrong_first_code_turns_nothing_on(
    member: Caller, browser: Client, sign_in: SignIn
) -> None:
    sign_in("the-user")
    browser.get("/account/second-factor/enrol/")
    answer = browser.post("/account/second-factor/enrol/", {"code": "abcdef"})
    assert list(answer.context["form"].errors) == ["code"]
    assert not second_factor.has_second_factor(member.user)


def test_the_password_alone_opens_nothing(admin: Caller, browser: Client, sign_in: SignIn) -> None:
    enrol(admin.user)
    assert sign_in("the-admin", next="/admin/").url == "/login/code/"
    for page in ("/account/", "/admin/", "/admin/accounts/user/", "/account/second-factor/off/"):
        assert browser.get(page).status_code == 302
        assert browser.get(page).url.split("?")[0] in ("/login/", "/admin/login/")
    assert browser.get("/api/me").status_code == 401
    assert not AuditLog.objects.filter(action="session.logged_in").exists()


def test_password_and_code_open_a_session(admin: Caller, browser: Client, sign_in: SignIn) -> None:
    enrol(admin.user)
    sign_in("the-admin", next="/admin/")
    waiting = browser.session.session_key
    assert browser.get("/login/code/").status_code == 200
    done = browser.post("/login/code/", {"code": code_of(admin.user)})
    assert done.url == "/admin/"
    assert browser.get("/admin/").status_code == 200
    assert browser.session.session_key != waiting
    assert AuditLog.objects.get(action="session.logged_in").data == {"method": "password and code"}


def test_a_code_works_once(member: Caller, browser: Client, sign_in: SignIn) -> None:
    enrol(member.user)
    code = code_of(member.user)
    sign_in("the-user")
    browser.post("/login/code/", {"code": code})
    second = Client()
    second.post("/login/", {"username": "the-user", "password": PASSWORD})
    again = second.post("/login/code/", {"code": code})
    assert list(again.context["form"].errors) == ["code"]
    assert not is_signed_in(second)


def test_an_old_code_is_refused(member: Caller, browser: Client, sign_in: SignIn) -> None:
    enrol(member.user)
    sign_in("the-user")
    browser.post("/login/code/", {"code": code_of(member.user, steps=-3)})
    assert not is_signed_in(browser)


def test_a_wrong_code_slows_the_next_one_down_and_is_written_down(
    member: Caller, browser: Client, sign_in: SignIn
) -> None:
    enrol(member.user)
    sign_in("the-user")
    right = code_of(member.user)
    wrong = f"{(int(right) + 1) % 1_000_000:06d}"
    assert browser.post("/login/code/", {"code": wrong}).status_code == 200
    slowed = browser.post("/login/code/", {"code": right})
    assert slowed.status_code == 429
    assert int(slowed.headers["Retry-After"]) >= 1
    row = AuditLog.objects.get(action="session.login_failed")
    assert (row.target_name, row.data["step"]) == ("the-user", "code")


def test_wrong_codes_lock_the_name_as_wrong_passwords_do(
    member: Caller, browser: Client, sign_in: SignIn, settings: Any
) -> None:
    settings.OTP_TOTP_THROTTLE_FACTOR = 0
    enrol(member.user)
    sign_in("the-user")
    for _ in range(4):
        assert browser.post("/login/code/", {"code": "aaaaaa"}).status_code == 200
    assert browser.post("/login/code/", {"code": "aaaaaa"}).status_code == 429
    assert browser.post("/login/code/", {"code": code_of(member.user)}).status_code == 429
    assert not is_signed_in(browser)


def test_a_recovery_code_works_once(member: Caller, browser: Client, sign_in: SignIn) -> None:
    codes = enrol(member.user)
    sign_in("the-user")
    assert browser.post("/login/code/", {"code": codes[0].upper()}).status_code == 302
    assert is_signed_in(browser)
    assert second_factor.num_recovery_codes(member.user) == 9
    assert second_factor.spend_code(user=member.user, code=codes[0]) is None
    assert second_factor.spend_code(user=member.user, code=codes[1]) is SignInMethod.RECOVERY_CODE


def test_a_recovery_code_of_somebody_else_is_wrong(member: Caller, guest: Caller) -> None:
    codes = enrol(guest.user)
    enrol(member.user)
    assert second_factor.spend_code(user=member.user, code=codes[0]) is None


def test_the_second_step_waits_ten_minutes(
    member: Caller, browser: Client, sign_in: SignIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    enrol(member.user)
    sign_in("the-user")
    monkeypatch.setattr(pending_sign_in, "LIFETIME", -1)
    assert browser.post("/login/code/", {"code": code_of(member.user)}).url == "/login/"
    assert not is_signed_in(browser)


def test_a_password_changed_meanwhile_ends_the_second_step(
    member: Caller, browser: Client, sign_in: SignIn
) -> None:
    enrol(member.user)
    sign_in("the-user")
    member.user.set_password("something else entirely")
    member.user.save()
    assert browser.get("/login/code/").url == "/login/"


def test_nobody_comes_to_the_second_step_without_the_first(browser: Client, db: None) -> None:
    assert browser.get("/login/code/").url == "/login/"
    assert browser.post("/login/code/", {"code": "123456"}).url == "/login/"
    assert browser.get("/login/second-factor/").url == "/login/"
    assert browser.post("/login/second-factor/", {"code": "123456"}).url == "/login/"


def test_turning_it_off_takes_password_and_code(
    member: Caller, browser: Client, sign_in: SignIn
) -> None:
    codes = enrol(member.user)
    browser.force_login(member.user)
    off = "/account/second-factor/off/"
    browser.post(off, {"password": "wrong", "code": codes[0]})
    browser.post(off, {"password": PASSWORD, "code": "wrong"})
    assert second_factor.has_second_factor(member.user)
    assert browser.post(off, {"password": PASSWORD, "code": codes[1]}).status_code == 302
    assert not second_factor.has_second_factor(member.user)
    assert RecoveryCode.objects.count() == 0
    assert is_signed_in(browser)
    row = AuditLog.objects.get(action="user.second_factor_disabled")
    assert row.data == {"deed": "disabled"}


def test_new_recovery_codes_replace_the_old_ones(
    member: Caller, browser: Client, sign_in: SignIn
) -> None:
    old = enrol(member.user)
    browser.force_login(member.user)
    answer = browser.post("/account/second-factor/codes/", {"code": old[0]})
    new = answer.context["codes"]
    assert not set(new) & set(old)
    assert second_factor.spend_code(user=member.user, code=old[1]) is None
    assert second_factor.spend_code(user=member.user, code=new[0]) is not None


def test_api_keys_work_without_a_code(member: Caller) -> None:
    enrol(member.user)
    assert member.get("/api/system/status").status_code == 200


# ------------------------------------------------------------------ required


def test_where_it_is_required_the_first_sign_in_leads_through_enrolment(
    member: Caller, browser: Client, sign_in: SignIn, sign_in_settings: Callable[..., None]
) -> None:
    sign_in_settings(totp=TotpPolicy.REQUIRED)
    assert sign_in("the-user", next="/account/").url == "/login/second-factor/"
    assert not is_signed_in(browser)
    assert "needs a second factor" in browser.get("/login/second-factor/").content.decode()
    browser.post("/login/second-factor/", {"code": "wrong"})
    assert not is_signed_in(browser)
    TOTPDevice.objects.update(throttling_failure_timestamp=None, throttling_failure_count=0)
    done = browser.post("/login/second-factor/", {"code": code_of(member.user)})
    assert len(done.context["codes"]) == 10
    assert 'href="/account/"' in done.content.decode()
    assert is_signed_in(browser)
    assert browser.get("/login/second-factor/").url == "/login/"


def test_required_for_admins_leaves_members_alone(
    member: Caller,
    operator: Caller,
    browser: Client,
    sign_in: SignIn,
    sign_in_settings: Callable[..., None],
) -> None:
    sign_in_settings(totp=TotpPolicy.ADMINS)
    assert sign_in("the-user").url == "/"
    browser.logout()
    assert sign_in("the-operator").url == "/login/second-factor/"


def test_what_is_required_cannot_be_turned_off(
    member: Caller, sign_in_settings: Callable[..., None]
) -> None:
    codes = enrol(member.user)
    sign_in_settings(totp=TotpPolicy.REQUIRED)
    with pytest.raises(AppError, match="stays on"):
        second_factor.disable(user=member.user, password=PASSWORD, code=codes[0])


# ------------------------------------------------------------------ reset


def test_an_admin_resets_a_lost_one_and_the_sessions_end(
    member: Caller, admin: Caller, browser: Client
) -> None:
    enrol(member.user)
    browser.force_login(member.user)
    assert second_factor.reset_second_factor(actor=admin.user, user=member.user)
    assert not second_factor.has_second_factor(member.user)
    assert not is_signed_in(browser)
    row = AuditLog.objects.get(action="user.second_factor_disabled")
    assert (row.actor, row.data) == (admin.user, {"deed": "reset"})


def test_less_than_an_admin_resets_no_admins(operator: Caller, admin: Caller) -> None:
    enrol(admin.user)
    with pytest.raises(AppError, match="may not"):
        second_factor.reset_second_factor(actor=operator.user, user=admin.user)
    assert second_factor.has_second_factor(admin.user)


def test_the_command_resets(member: Caller, capsys: pytest.CaptureFixture[str]) -> None:
    enrol(member.user)
    call_command("reset_second_factor", "--user", "the-user")
    assert "removed" in capsys.readouterr().out
    call_command("reset_second_factor", "--user", "the-user")
    assert "was not on" in capsys.readouterr().out


def test_the_command_ends_sessions(
    member: Caller, browser: Client, capsys: pytest.CaptureFixture[str]
) -> None:
    browser.force_login(member.user)
    call_command("end_sessions", "--all")
    assert not is_signed_in(browser)
