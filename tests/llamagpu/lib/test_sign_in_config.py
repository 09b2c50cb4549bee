from __future__ import annotations

import pytest

from llamagpu.lib.env import Env, EnvError
from llamagpu.lib.sign_in_config import MailConfig, OidcConfig, SignInConfig, TotpPolicy

OIDC = {"LLAMA_OIDC_ISSUER": "https://id.example", "LLAMA_OIDC_CLIENT_ID": "us"}


def test_by_default_there_is_a_password_and_nothing_else() -> None:
    config = SignInConfig.from_env(Env({}))
    assert (config.attempts, config.cooldown) == (5, 900)
    assert (config.totp, config.mail, config.oidc) == (TotpPolicy.OFF, None, None)


@pytest.mark.parametrize(
    ("url", "port", "tls", "ssl"),
    [
        ("smtp://mail.example", 25, False, False),
        ("smtp+tls://mail.example", 587, True, False),
        ("smtps://mail.example", 465, False, True),
        ("smtps://mail.example:2465", 2465, False, True),
    ],
)
def test_a_mail_server_is_one_address(url: str, port: int, tls: bool, ssl: bool) -> None:
    mail = MailConfig.from_env(Env({"LLAMA_EMAIL_URL": url}))
    assert mail is not None
    assert (mail.host, mail.port, mail.tls, mail.ssl) == ("mail.example", port, tls, ssl)
    assert mail.sender == "llamagpu@mail.example"


def test_a_mail_password_may_hold_anything_and_shows_nowhere() -> None:
    mail = MailConfig.from_env(Env({"LLAMA_EMAIL_URL": "smtps://me:a%40b%3Ac@mail.example"}))
    assert mail is not None
    assert (mail.user, mail.password) == ("me", "a@b:c")
    assert "a@b:c" not in repr(mail)


@pytest.mark.parametrize("url", ["mail.example", "http://mail.example", "smtp://", "smtp://h:x"])
def test_a_mail_server_that_cannot_be_is_named_without_its_password(url: str) -> None:
    with pytest.raises(EnvError, match="LLAMA_EMAIL_URL: must look like"):
        MailConfig.from_env(Env({"LLAMA_EMAIL_URL": url}))


def test_a_role_map_keeps_its_order_and_takes_names_with_signs() -> None:
    text = "cn=chiefs=admin, staff=user,"
    oidc = OidcConfig.from_env(Env(OIDC | {"LLAMA_OIDC_ROLE_MAP": text}))
    assert oidc is not None
    assert oidc.role_map == (("cn=chiefs", "admin"), ("staff", "user"))


def test_the_client_secret_shows_nowhere() -> None:
    oidc = OidcConfig.from_env(Env(OIDC | {"LLAMA_OIDC_CLIENT_SECRET": "hush"}))
    assert oidc is not None
    assert oidc.client_secret == "hush"
    assert "hush" not in repr(
        SignInConfig.from_env(Env(OIDC | {"LLAMA_OIDC_CLIENT_SECRET": "hush"}))
    )


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        ({"LLAMA_OIDC_ISSUER": "http://id.example"}, "LLAMA_OIDC_ISSUER"),
        ({"LLAMA_OIDC_ISSUER": "id.example"}, "LLAMA_OIDC_ISSUER"),
        ({"LLAMA_OIDC_CLIENT_ID": ""}, "LLAMA_OIDC_CLIENT_ID"),
        ({"LLAMA_OIDC_SCOPES": "profile"}, "LLAMA_OIDC_SCOPES"),
        ({"LLAMA_OIDC_ROLE_MAP": "staff"}, "LLAMA_OIDC_ROLE_MAP"),
        ({"LLAMA_OIDC_ROLE_MAP": "=user"}, "LLAMA_OIDC_ROLE_MAP"),
        ({"LLAMA_OIDC_ONLY": "perhaps"}, "LLAMA_OIDC_ONLY"),
        ({"LLAMA_TOTP": "sometimes"}, "LLAMA_TOTP"),
        ({"LLAMA_LOGIN_ATTEMPTS": "0"}, "LLAMA_LOGIN_ATTEMPTS"),
        ({"LLAMA_SESSION_IDLE": "1"}, "LLAMA_SESSION_IDLE"),
    ],
)
def test_a_value_that_cannot_be_used_is_named(changed: dict[str, str], named: str) -> None:
    with pytest.raises(EnvError, match=named):
        SignInConfig.from_env(Env(OIDC | changed))


def test_a_provider_on_this_machine_needs_no_tls() -> None:
    oidc = OidcConfig.from_env(Env(OIDC | {"LLAMA_OIDC_ISSUER": "http://127.0.0.1:8080"}))
    assert oidc is not None
    assert oidc.default_role == "none"
