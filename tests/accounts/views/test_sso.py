from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.test import Client

from accounts.models import SsoIdentity, User
from accounts.services.users import change_user, create_user
from monitoring.models import AuditLog
from tests.accounts.views.oidc_provider import Provider
from tests.accounts.views.sso_steps import assert_refused, come_back, is_signed_in
from tests.conftest import PASSWORD, Caller

SignIn = Callable[..., Any]
Change = Callable[..., None]


def test_the_sign_in_page_offers_it(browser: Client, configure: Change) -> None:
    page = browser.get("/login/?next=/account/").content.decode()
    assert "Sign in at the works" in page
    assert 'href="/login/sso/?next=%2Faccount%2F"' in page


def test_without_a_provider_there_is_nothing(browser: Client, db: None) -> None:
    assert browser.get("/login/sso/").status_code == 404
    assert browser.get("/login/sso/callback/?code=1&state=2").status_code == 404


def test_the_first_sign_in_makes_an_account_with_the_mapped_role(
    browser: Client, provider: Provider, configure: Change
) -> None:
    provider.person |= {"given_name": "Ada", "email": "ada@example.org", "email_verified": True}
    assert come_back(browser, provider, "/account/").url == "/account/"
    user = User.objects.get()
    assert (user.username, user.role.slug, user.email) == ("ada", "user", "ada@example.org")
    assert not user.has_usable_password()
    assert is_signed_in(browser)
    identity = SsoIdentity.objects.get()
    assert (identity.user, identity.issuer, identity.subject) == (user, provider.issuer, "s-1")
    row = AuditLog.objects.get(action="session.logged_in")
    assert (row.actor, row.data) == (user, {"method": "single sign-on"})
    asked = provider.asked[-1]
    assert asked["redirect_uri"] == "http://testserver/login/sso/callback/"
    assert len(asked["nonce"]) >= 20
    assert len(asked["state"]) >= 20


def test_the_next_sign_in_finds_the_same_account_by_subject_alone(
    browser: Client, provider: Provider, configure: Change
) -> None:
    come_back(browser, provider)
    provider.person |= {"preferred_username": "countess", "groups": ["engineers", "staff"]}
    browser.logout()
    come_back(browser, provider)
    user = User.objects.get()
    assert (user.username, user.role.slug) == ("ada", "operator")


def test_a_name_that_is_taken_links_nobody_to_its_account(
    browser: Client, provider: Provider, configure: Change
) -> None:
    owner = create_user(
        actor=None, username="Ada", password=PASSWORD, role="admin", email="a@b.example"
    )
    provider.person |= {"email": "a@b.example", "email_verified": True}
    come_back(browser, provider)
    user = SsoIdentity.objects.get().user
    assert user != owner
    assert (user.username, user.role.slug) == ("ada-2", "user")


@pytest.mark.parametrize(
    "claims",
    [
        {"email": "not an address"},
        {"email": "a@b.example", "email_verified": False},
        {"email": ["a@b.example"]},
        {"email": "a" * 300 + "@b.example", "given_name": 7},
    ],
)
def test_what_the_provider_cannot_vouch_for_is_left_out(
    browser: Client, provider: Provider, configure: Change, claims: dict[str, Any]
) -> None:
    provider.person |= claims
    come_back(browser, provider)
    user = User.objects.get()
    assert (user.username, user.email, user.first_name) == ("ada", "", "")


@pytest.mark.parametrize(
    ("claim", "value", "role"),
    [
        ("groups", ["staff", "chiefs"], "admin"),
        ("groups", "engineers", "operator"),
        ("realm_access.roles", ["engineers"], "operator"),
    ],
)
def test_the_first_entry_of_the_map_that_fits_counts(
    browser: Client, provider: Provider, configure: Change, claim: str, value: Any, role: str
) -> None:
    configure(role_claim=claim)
    outer, _, inner = claim.partition(".")
    provider.person[outer] = {inner: value} if inner else value
    come_back(browser, provider)
    assert User.objects.get().role.slug == role


@pytest.mark.parametrize("groups", [["others"], [], None, 7, {"staff": True}, [["staff"]]])
def test_who_gets_no_role_is_refused(
    browser: Client, provider: Provider, configure: Change, groups: Any
) -> None:
    provider.person["groups"] = groups
    answer = come_back(browser, provider)
    assert "no role here" in answer.content.decode()
    assert_refused(answer, browser)
    assert AuditLog.objects.filter(action="session.login_failed").count() == 1


def test_a_default_role_takes_everybody_in(
    browser: Client, provider: Provider, configure: Change
) -> None:
    configure(default_role="guest")
    provider.person["groups"] = ["others"]
    come_back(browser, provider)
    assert User.objects.get().role.slug == "guest"


def test_a_deactivated_account_is_refused(
    browser: Client, provider: Provider, configure: Change
) -> None:
    come_back(browser, provider)
    change_user(actor=None, user=User.objects.get(), is_active=False)
    assert come_back(browser, provider).status_code == 403
    assert not is_signed_in(browser)


def test_the_last_admin_is_not_demoted_by_the_provider(
    browser: Client, provider: Provider, configure: Change
) -> None:
    provider.person["groups"] = ["chiefs"]
    come_back(browser, provider)
    browser.logout()
    provider.person["groups"] = ["staff"]
    answer = come_back(browser, provider)
    assert answer.status_code == 403
    assert "last active Admin" in answer.content.decode()
    assert User.objects.get().role.slug == "admin"


# ------------------------------------------------------------------ lies


def test_the_way_on_stays_on_this_site(
    browser: Client, provider: Provider, configure: Change
) -> None:
    assert come_back(browser, provider, "https://evil.example/").url == "/"


# ------------------------------------------------------------------ single sign-on alone


def test_alone_it_hides_the_password_form(browser: Client, configure: Change) -> None:
    configure(only=True)
    assert 'name="password"' not in browser.get("/login/").content.decode()
    assert 'name="password"' in browser.get("/login/?password").content.decode()


def test_alone_it_leaves_the_password_to_who_repairs_the_installation(
    browser: Client, admin: Caller, member: Caller, configure: Change, sign_in: SignIn
) -> None:
    configure(only=True)
    assert "is wrong" in sign_in("the-user").content.decode()
    assert not is_signed_in(browser)
    assert sign_in("the-admin").status_code == 302
    assert is_signed_in(browser)


def test_people_of_the_provider_have_no_password_here(
    browser: Client, provider: Provider, configure: Change, sign_in: SignIn
) -> None:
    come_back(browser, provider)
    page = browser.get("/account/password/").content.decode()
    assert "no password here" in page
    browser.logout()
    assert sign_in("ada", "").status_code == 200
    assert sign_in("ada", "!").status_code == 200
    assert not is_signed_in(browser)
