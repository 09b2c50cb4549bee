from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django_otp.oath import TOTP
from django_otp.plugins.otp_totp.models import TOTPDevice

from accounts.models import SsoIdentity, User
from accounts.services import second_factor
from accounts.services.single_sign_on import user_of_claims
from accounts.services.users import create_user
from llamagpu.lib.sign_in_config import OidcConfig
from tests.conftest import PASSWORD

pytestmark = pytest.mark.django_db(transaction=True, serialized_rollback=True)


def at_once(num: int, deed: Callable[[], Any]) -> list[Any]:
    """What `deed` gives in that many threads that start together."""
    start = Barrier(num)

    def run(_: int) -> Any:
        start.wait()
        try:
            return deed()
        finally:
            connection.close()

    with ThreadPoolExecutor(num) as pool:
        return list(pool.map(run, range(num)))


@pytest.fixture
def enrolled() -> tuple[User, list[str]]:
    """A user with a second factor, and the recovery codes."""
    user = create_user(actor=None, username="ada", password=PASSWORD, role="user")
    device = second_factor.enrolment_of(user=user)
    codes = second_factor.confirm_enrolment(user=user, code=current_code(device))
    assert codes is not None
    TOTPDevice.objects.update(last_t=-1)
    return user, codes


def current_code(device: TOTPDevice) -> str:
    totp = TOTP(device.bin_key, device.step, device.t0, device.digits, device.drift)
    totp.time = time.time()
    return f"{totp.token():06d}"


def test_a_recovery_code_is_spent_once_however_many_try(enrolled: tuple[User, list[str]]) -> None:
    user, codes = enrolled
    outcomes = at_once(6, lambda: second_factor.spend_code(user=user, code=codes[0]))
    assert sum(outcome is not None for outcome in outcomes) == 1


def test_a_code_of_the_app_is_spent_once_however_many_try(
    enrolled: tuple[User, list[str]],
) -> None:
    user, _ = enrolled
    code = current_code(TOTPDevice.objects.get(user=user))
    outcomes = at_once(6, lambda: second_factor.spend_code(user=user, code=code))
    assert sum(outcome is not None for outcome in outcomes) == 1


def test_the_second_factor_goes_on_once(settings: Any) -> None:
    user = create_user(actor=None, username="ada", password=PASSWORD, role="user")
    at_once(6, lambda: second_factor.enrolment_of(user=user))
    assert TOTPDevice.objects.filter(user=user).count() == 1


def test_two_first_sign_ins_of_one_person_make_one_account() -> None:
    config = OidcConfig(
        issuer="https://id.example",
        client_id="us",
        client_secret="",
        scopes=("openid",),
        role_claim="groups",
        role_map=(),
        default_role="user",
        only=False,
        label="",
    )
    claims = {"iss": "https://id.example", "sub": "s-1", "preferred_username": "ada"}
    users = at_once(6, lambda: user_of_claims(config=config, claims=claims))
    assert len({user.pk for user in users}) == 1
    assert User.objects.count() == SsoIdentity.objects.count() == 1


def test_a_burst_of_guesses_is_cut_off_before_the_passwords_are_checked(
    redis_client: Any, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from accounts.services import sign_in

    create_user(actor=None, username="ada", password=PASSWORD, role="user")
    checked: list[str] = []
    authenticate = sign_in.auth.authenticate

    def counted(*args: Any, **kwargs: Any) -> Any:
        checked.append(kwargs["password"])
        return authenticate(*args, **kwargs)

    monkeypatch.setattr(sign_in.auth, "authenticate", counted)
    form = {"username": "ada", "password": "wrong"}
    statuses = at_once(24, lambda: Client().post("/login/", form).status_code)
    assert len(checked) <= 2 * settings.SIGN_IN.attempts
    assert set(statuses) <= {200, 429}
    assert statuses.count(429) >= 14
