from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest
from django.test import Client
from joserfc.jwk import ECKey, OctKey, RSAKey

from accounts.models import SsoIdentity, User
from accounts.services.users import change_user, create_user
from llamagpu.lib.sign_in_config import OidcConfig
from monitoring.models import AuditLog
from tests.accounts.views.oidc_provider import CLIENT_ID, CLIENT_SECRET, Provider
from tests.conftest import PASSWORD, Caller

SignIn = Callable[..., Any]
Change = Callable[..., None]


@pytest.fixture(scope="module")
def running() -> Iterator[Provider]:
    provider = Provider()
    yield provider
    provider.close()


@pytest.fixture
def provider(running: Provider) -> Provider:
    """The provider, honest again."""
    running.signing_key, running.unsigned = running.key, False
    running.header = {"alg": "RS256", "kid": "one"}
    running.person = {"sub": "s-1", "preferred_username": "ada", "groups": ["staff"]}
    running.claims, running.metadata, running.token_answer = {}, {}, {}
    running.codes.clear()
    running.token_calls = 0
    return running


@pytest.fixture
def configure(provider: Provider, sign_in_settings: Change, db: None) -> Change:
    """Single sign-on at the provider, `configure(only=True)` with other values."""
    config = OidcConfig(
        issuer=provider.issuer,
        client_id=CLIENT_ID,
        client_secret=CLIENT_SECRET,
        scopes=("openid", "profile"),
        role_claim="groups",
        role_map=(("chiefs", "admin"), ("engineers", "operator"), ("staff", "user")),
        default_role="none",
        only=False,
        label="Sign in at the works",
    )

    def change(**values: Any) -> None:
        sign_in_settings(oidc=replace(config, **values))

    change()
    return change


def leave(browser: Client, next_url: str = "") -> str:
    """Start the sign-in; the address at the provider."""
    answer = browser.get("/login/sso/", {"next": next_url})
    assert answer.status_code == 302, answer.content
    return str(answer.url)


def come_back(browser: Client, provider: Provider, next_url: str = "") -> Any:
    brought = provider.authorize(leave(browser, next_url))
    return browser.get("/login/sso/callback/", brought)


def is_signed_in(browser: Client) -> bool:
    return browser.get("/account/").status_code == 200


def assert_refused(answer: Any, browser: Client, status: int = 403) -> None:
    assert answer.status_code == status
    assert 'role="alert"' in answer.content.decode()
    assert not is_signed_in(browser)
    assert User.objects.count() == 0


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


NOW = int(time.time())


@pytest.mark.parametrize(
    "claims",
    [
        pytest.param({"nonce": "another"}, id="wrong nonce"),
        pytest.param({"nonce": None}, id="no nonce"),
        pytest.param({"exp": NOW - 120, "iat": NOW - 300}, id="expired"),
        pytest.param({"exp": None}, id="never expires"),
        pytest.param({"iss": "https://evil.example"}, id="another issuer"),
        pytest.param({"iss": None}, id="no issuer"),
        pytest.param({"aud": "somebody-else"}, id="another audience"),
        pytest.param({"aud": "somebody-else", "azp": CLIENT_ID}, id="another audience, our party"),
        pytest.param({"aud": [CLIENT_ID, "other"], "azp": "other"}, id="another party"),
        pytest.param({"aud": None}, id="no audience"),
        pytest.param({"sub": None}, id="no subject"),
        pytest.param({"sub": ""}, id="an empty subject"),
        pytest.param({"sub": 7}, id="a subject that is no text"),
        pytest.param({"iat": NOW + 3600, "exp": NOW + 7200}, id="from the future"),
        pytest.param({"at_hash": "AAAAAAAAAAAAAAAAAAAAAA"}, id="for another access token"),
    ],
)
def test_a_token_that_says_something_wrong_is_refused(
    browser: Client, provider: Provider, configure: Change, claims: dict[str, Any]
) -> None:
    provider.claims = claims
    assert_refused(come_back(browser, provider), browser)


def test_a_token_signed_by_another_key_is_refused(
    browser: Client, provider: Provider, configure: Change
) -> None:
    provider.signing_key = RSAKey.generate_key(2048, parameters={"kid": "one"}, auto_kid=False)
    assert_refused(come_back(browser, provider), browser)


def test_a_key_that_the_token_brings_along_is_not_believed(
    browser: Client, provider: Provider, configure: Change
) -> None:
    own = ECKey.generate_key("P-256")
    provider.metadata = {"id_token_signing_alg_values_supported": ["RS256", "ES256"]}
    provider.signing_key = own
    provider.header = {"alg": "ES256", "jwk": own.as_dict(private=False)}
    assert_refused(come_back(browser, provider), browser)


@pytest.mark.parametrize("offered", [["RS256"], ["none"], ["RS256", "none"]])
def test_a_token_without_a_signature_is_refused(
    browser: Client, provider: Provider, configure: Change, offered: list[str]
) -> None:
    provider.unsigned = True
    if offered == ["none"]:
        provider.metadata = {"id_token_signing_alg_values_supported": offered}
        assert_refused(browser.get("/login/sso/"), browser)
        return
    provider.metadata = {"id_token_signing_alg_values_supported": offered}
    assert_refused(come_back(browser, provider), browser)


def test_the_public_key_is_no_shared_secret(
    browser: Client, provider: Provider, configure: Change
) -> None:
    provider.metadata = {"id_token_signing_alg_values_supported": ["RS256", "HS256"]}
    provider.signing_key = OctKey.import_key("a secret that both could know, long enough for it")
    provider.header = {"alg": "HS256"}
    assert_refused(come_back(browser, provider), browser)


def test_another_state_is_refused_and_nothing_is_asked(
    browser: Client, provider: Provider, configure: Change
) -> None:
    brought = provider.authorize(leave(browser))
    answer = browser.get("/login/sso/callback/", brought | {"state": "another"})
    assert_refused(answer, browser)
    assert_refused(browser.get("/login/sso/callback/", {"code": brought["code"]}), browser)
    assert provider.token_calls == 0


def test_a_state_of_another_browser_is_refused(
    browser: Client, provider: Provider, configure: Change
) -> None:
    brought = provider.authorize(leave(Client()))
    assert_refused(browser.get("/login/sso/callback/", brought), browser)
    assert provider.token_calls == 0


def test_a_code_that_comes_twice_opens_nothing(
    browser: Client, provider: Provider, configure: Change
) -> None:
    brought = provider.authorize(leave(browser))
    assert browser.get("/login/sso/callback/", brought).status_code == 302
    browser.post("/logout/")
    assert browser.get("/login/sso/callback/", brought).status_code == 403
    assert not is_signed_in(browser)
    assert provider.token_calls == 1


def test_a_code_that_the_provider_does_not_know_is_refused(
    browser: Client, provider: Provider, configure: Change
) -> None:
    brought = provider.authorize(leave(browser))
    assert_refused(browser.get("/login/sso/callback/", brought | {"code": "made up"}), browser)


def test_an_answer_without_an_identity_token_is_refused(
    browser: Client, provider: Provider, configure: Change
) -> None:
    provider.token_answer = {"id_token": None}
    assert_refused(come_back(browser, provider), browser)


def test_a_refusal_by_the_provider_shows_none_of_its_words(
    browser: Client, provider: Provider, configure: Change
) -> None:
    state = provider.authorize(leave(browser))["state"]
    brought = {"state": state, "error": "access_denied", "error_description": "call 555-1234"}
    answer = browser.get("/login/sso/callback/", brought)
    assert_refused(answer, browser)
    assert "555" not in answer.content.decode()


@pytest.mark.parametrize(
    "metadata",
    [
        {"issuer": "https://evil.example"},
        {"issuer": None},
        {"token_endpoint": "ftp://evil.example/token"},
        {"jwks_uri": None},
    ],
)
def test_a_description_that_is_not_the_providers_own_is_refused(
    browser: Client, provider: Provider, configure: Change, metadata: dict[str, Any]
) -> None:
    provider.metadata = metadata
    assert_refused(browser.get("/login/sso/"), browser)


def test_a_provider_that_is_away_leaves_the_password(
    browser: Client, member: Caller, configure: Change, sign_in: SignIn
) -> None:
    configure(issuer="http://127.0.0.1:9")
    answer = browser.get("/login/sso/")
    assert answer.status_code == 503
    assert "does not answer" in answer.content.decode()
    assert 'name="password"' in answer.content.decode()
    assert answer.headers["Retry-After"] == "30"
    assert sign_in("the-user").status_code == 302


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
