from __future__ import annotations

import re
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

import pytest
from django.core import mail
from django.core.management import CommandError, call_command
from django.test import Client

from accounts import mail as accounts_mail
from accounts.services.passwords import make_reset_link
from accounts.services.users import change_user
from accounts.views import passwords as password_views
from llamagpu.http.errors import AppError
from llamagpu.lib.sign_in_config import MailConfig
from monitoring.models import AuditLog
from tests.conftest import PASSWORD, Caller

SignIn = Callable[..., Any]
NEW = "a quite different passphrase"


def change(browser: Client, current: str = PASSWORD, password: str = NEW, again: str = NEW) -> Any:
    form = {"current": current, "password": password, "repeated": again}
    return browser.post("/account/password/", form)


@pytest.fixture
def mail_server(sign_in_settings: Callable[..., None], monkeypatch: pytest.MonkeyPatch) -> None:
    """Mails are configured, and sent before the answer."""
    config = MailConfig("mail.example", 587, "", "", tls=True, ssl=False, sender="x@example.org")
    sign_in_settings(mail=config)

    def send_now(compose: Callable[..., None], **arguments: Any) -> None:
        compose(**arguments)

    monkeypatch.setattr(password_views, "send_later", send_now)


def test_a_changed_password_ends_the_other_sessions_and_keeps_this_one(
    member: Caller, browser: Client, sign_in: SignIn
) -> None:
    sign_in("the-user")
    key_before = browser.session.session_key
    other = Client()
    other.post("/login/", {"username": "the-user", "password": PASSWORD})
    assert change(browser).url == "/account/"
    assert browser.get("/account/").status_code == 200
    assert other.get("/account/").status_code == 302
    assert browser.session.session_key != key_before
    epoch = member.user.session_epoch
    member.user.refresh_from_db()
    assert member.user.check_password(NEW)
    assert member.user.session_epoch > epoch, "open streams of the session end by it"
    row = AuditLog.objects.get(action="user.password_changed")
    assert row.actor == member.user
    assert NEW not in str(row.__dict__)


@pytest.mark.parametrize(
    ("form", "field"),
    [
        ({"current": "wrong"}, "current"),
        ({"again": "another passphrase"}, "repeated"),
        ({"password": "short", "again": "short"}, "password"),
        ({"password": "the-user-1", "again": "the-user-1"}, "password"),
    ],
)
def test_a_change_that_cannot_be_is_refused_at_its_field(
    member: Caller, browser: Client, sign_in: SignIn, form: dict[str, str], field: str
) -> None:
    sign_in("the-user")
    answer = change(browser, **form)
    assert answer.status_code == 200
    assert list(answer.context["form"].errors) == [field]
    member.user.refresh_from_db()
    assert member.user.check_password(PASSWORD)


def test_a_stolen_session_cannot_guess_the_password_at_leisure(
    member: Caller, browser: Client, sign_in: SignIn
) -> None:
    sign_in("the-user")
    statuses = [change(browser, current=f"guess {number}").status_code for number in range(12)]
    assert statuses[-1] == 429


def test_without_a_mail_server_the_page_says_whom_to_ask(browser: Client, member: Caller) -> None:
    page = browser.get("/password-reset/").content.decode()
    assert "Ask an Admin" in page
    browser.post("/password-reset/", {"email": "a@example.org"})
    assert mail.outbox == []


def test_known_and_unknown_addresses_get_the_same_answer(
    member: Caller, browser: Client, mail_server: None
) -> None:
    change_user(actor=None, user=member.user, email="member@example.org")
    known = browser.post("/password-reset/", {"email": "Member@example.org"})
    unknown = browser.post("/password-reset/", {"email": "nobody@example.org"})
    strip = re.compile(r'value="[^"]*"')
    assert strip.sub("", known.content.decode()) == strip.sub("", unknown.content.decode())
    assert [message.to for message in mail.outbox] == [["member@example.org"]]


def test_the_mailed_link_sets_a_password_once(
    member: Caller, browser: Client, sign_in: SignIn, mail_server: None
) -> None:
    change_user(actor=None, user=member.user, email="member@example.org")
    signed_in = Client()
    signed_in.force_login(member.user)
    browser.post("/password-reset/", {"email": "member@example.org"})
    link = re.search(r"http://testserver(/\S+)", mail.outbox[0].body)
    assert link is not None
    form_page = browser.get(link[1])
    assert "set-password" in form_page.url, "the token leaves the address"
    done = browser.post(form_page.url, {"password": NEW, "repeated": NEW})
    assert done.url == "/login/"
    assert signed_in.get("/account/").status_code == 302
    assert sign_in("the-user", NEW).status_code == 302
    again = Client().get(link[1])
    assert "used already" in again.content.decode()
    assert AuditLog.objects.filter(action="user.password_changed").count() == 1


def test_a_link_dies_with_another_password(member: Caller, admin: Caller, browser: Client) -> None:
    link = make_reset_link(actor=admin.user, user=member.user, base_url="")
    member.user.set_password(NEW)
    member.user.save()
    assert "used already" in browser.get(link).content.decode()


def test_a_link_dies_after_an_hour(member: Caller, browser: Client, settings: Any) -> None:
    assert settings.PASSWORD_RESET_TIMEOUT == 3600
    link = make_reset_link(actor=None, user=member.user, base_url="")
    settings.PASSWORD_RESET_TIMEOUT = -1
    assert "too old" in browser.get(link).content.decode()


def test_a_deactivated_user_gets_no_new_password(member: Caller, browser: Client) -> None:
    link = make_reset_link(actor=None, user=member.user, base_url="")
    change_user(actor=None, user=member.user, is_active=False)
    assert "used already" in browser.get(link).content.decode()


def test_a_weak_password_does_not_use_the_link_up(member: Caller, browser: Client) -> None:
    link = make_reset_link(actor=None, user=member.user, base_url="")
    form_page = browser.get(link)
    assert browser.post(form_page.url, {"password": "1234", "repeated": "1234"}).status_code == 200
    assert browser.post(form_page.url, {"password": NEW, "repeated": NEW}).status_code == 302


def test_a_link_for_an_admin_is_not_made_by_less(operator: Caller, admin: Caller) -> None:
    with pytest.raises(AppError, match="may not"):
        make_reset_link(actor=operator.user, user=admin.user, base_url="")


def test_the_command_prints_a_link_that_works(
    member: Caller, browser: Client, capsys: pytest.CaptureFixture[str]
) -> None:
    call_command("reset_link", "--user", "the-user")
    link = capsys.readouterr().out.strip()
    assert link.startswith("http://127.0.0.1:5000/password-reset/")
    path = link.removeprefix("http://127.0.0.1:5000")
    assert browser.get(path).status_code == 302
    row = AuditLog.objects.get(action="user.reset_link_made")
    assert row.target_name == "the-user"
    assert path.split("/")[-2] not in str(row.__dict__)


def test_the_command_knows_who_is_not_there(db: None) -> None:
    with pytest.raises(CommandError, match="no user 'nobody'"):
        call_command("reset_link", "--user", "nobody")


def test_a_mail_that_fails_is_logged_and_harms_nobody(caplog: pytest.LogCaptureFixture) -> None:
    def fail() -> None:
        raise OSError("no route")

    sent: Future[None] = accounts_mail.send_later(fail)
    sent.result(timeout=10)
    assert "a mail could not be sent" in caplog.text
