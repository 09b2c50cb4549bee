from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest
from django.test import Client
from joserfc.jwk import ECKey, OctKey, RSAKey

from tests.accounts.views.oidc_provider import CLIENT_ID, Provider
from tests.accounts.views.sso_steps import assert_refused, come_back, is_signed_in, leave
from tests.conftest import Caller

SignIn = Callable[..., Any]
Change = Callable[..., None]

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
