from __future__ import annotations

from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from accounts import failed_attempts
from accounts.api_keys import checksum, generate_key
from accounts.models import ApiKey
from accounts.services import key_authentication
from accounts.services.api_keys import revoke_api_key
from accounts.services.key_authentication import (
    REFUSAL,
    WrongAddressError,
    authenticate_key,
    find_key,
)
from llamagpu.http.errors import AppError
from llamagpu.http.origin import Origin, current_origin
from llamagpu.lib.error_codes import ErrorCode
from tests.conftest import Caller

PEER = "192.0.2.7"


def forgeries(caller: Caller) -> dict[str, str]:
    """Texts in the form of a key that are none, by what is wrong with them."""
    _, prefix, secret = caller.key.split("_")
    body = "A" * 37
    return {
        "unknown": str(generate_key()),
        "wrong secret": f"lg_{prefix}_{body}{checksum(prefix, body)}",
        "wrong checksum": f"lg_{prefix}_{secret[:-1]}{'0' if secret[-1] != '0' else '1'}",
    }


def test_every_refusal_does_the_same_work(member: Caller, monkeypatch: Any) -> None:
    """Counted, not timed: one query, one digest, one comparison of equally long texts."""
    calls: list[Any] = []

    def noting(name: str, lengths: bool = False) -> None:
        real = getattr(key_authentication, name)

        def noted(*arguments: Any) -> Any:
            calls.append((name, [len(a) for a in arguments] if lengths else None))
            return real(*arguments)

        monkeypatch.setattr(key_authentication, name, noted)

    noting("digest_key")
    noting("compare_digest", lengths=True)
    seen = {}
    for what, text in forgeries(member).items():
        calls.clear()
        with CaptureQueriesContext(
            connection,
        ) as queries:
            assert find_key(text) is None
        shapes = [query["sql"].split("WHERE")[0] for query in queries]
        seen[what] = (shapes, list(calls))
    first = seen["unknown"]
    assert len(first[0]) == 1
    assert first[1] == [("digest_key", None), ("compare_digest", [64, 64])]
    assert all(work == first for work in seen.values()), seen


def test_every_refusal_says_the_same(member: Caller) -> None:
    texts = [*forgeries(member).values(), "", "Bearer", "lg_ä_ö", "\x00", "x" * 1_000_000]
    revoke_api_key(actor=None, key=ApiKey.objects.get())
    for text in [*texts, member.key]:
        with pytest.raises(AppError) as caught:
            authenticate_key(text, "")
        assert (caught.value.code, caught.value.message) == (
            ErrorCode.AUTHENTICATION_FAILED,
            REFUSAL,
        )


def test_audit_rows_carry_the_key_from_then_on(member: Caller) -> None:
    token = current_origin.set(Origin(PEER))
    try:
        key = authenticate_key(member.key, PEER)
        assert current_origin.get() == Origin(PEER, key.prefix)
    finally:
        current_origin.reset(token)


@pytest.mark.parametrize(
    ("allowed", "peer"),
    [
        (["192.0.2.7"], PEER),
        (["10.0.0.0/8", "192.0.2.0/24"], PEER),
        (["192.0.2.0/24"], f"::ffff:{PEER}"),
        (["2001:db8::/32"], "2001:db8::1"),
        ([], ""),
    ],
)
def test_a_key_works_from_its_addresses(member: Caller, allowed: list[str], peer: str) -> None:
    ApiKey.objects.update(allowed_ips=allowed)
    assert authenticate_key(member.key, peer).user == member.user


@pytest.mark.parametrize("peer", ["192.0.3.7", "2001:db8::1", ""])
def test_a_right_key_from_elsewhere_is_told_so(member: Caller, peer: str) -> None:
    ApiKey.objects.update(allowed_ips=["192.0.2.0/24"])
    with pytest.raises(WrongAddressError) as caught:
        authenticate_key(member.key, peer)
    assert caught.value.code is ErrorCode.PERMISSION_DENIED
    assert peer in caught.value.message
    assert ApiKey.objects.get().last_used_at is None


def test_a_wrong_key_learns_nothing_of_the_addresses(member: Caller) -> None:
    ApiKey.objects.update(allowed_ips=["10.0.0.0/8"])
    for text in forgeries(member).values():
        with pytest.raises(AppError, match="unknown, revoked or expired"):
            authenticate_key(text, PEER)


@pytest.fixture
def three(monkeypatch: pytest.MonkeyPatch, redis_client: Any) -> None:
    monkeypatch.setattr(failed_attempts, "MAX_FAILURES", 3)


def fail(peer: str, times: int) -> None:
    for _ in range(times):
        with pytest.raises(AppError) as caught:
            authenticate_key(str(generate_key()), peer)
        assert caught.value.code is ErrorCode.AUTHENTICATION_FAILED


def test_an_address_that_fails_too_often_has_to_wait_whatever_it_sends(
    member: Caller, three: None, django_assert_num_queries: Any
) -> None:
    fail(PEER, 3)
    with django_assert_num_queries(0):
        for text in (str(generate_key()), member.key, ""):
            with pytest.raises(AppError) as caught:
                authenticate_key(text, PEER)
            assert caught.value.code is ErrorCode.RATE_LIMIT_EXCEEDED
            assert 1 <= (caught.value.retry_after or 0) <= failed_attempts.WINDOW


def test_another_address_does_not_wait_with_it(member: Caller, three: None) -> None:
    fail(PEER, 3)
    assert authenticate_key(member.key, "192.0.2.8").user == member.user


def test_right_keys_are_not_counted(member: Caller, three: None) -> None:
    for _ in range(5):
        authenticate_key(member.key, PEER)
    fail(PEER, 2)
    assert authenticate_key(member.key, PEER).user == member.user


def test_a_stolen_key_from_elsewhere_counts_as_a_failure(member: Caller, three: None) -> None:
    ApiKey.objects.update(allowed_ips=["10.0.0.0/8"])
    for _ in range(3):
        with pytest.raises(WrongAddressError):
            authenticate_key(member.key, PEER)
    with pytest.raises(AppError) as caught:
        authenticate_key(member.key, PEER)
    assert caught.value.code is ErrorCode.RATE_LIMIT_EXCEEDED
