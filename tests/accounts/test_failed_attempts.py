from __future__ import annotations

from typing import Any

import pytest

from accounts import failed_attempts
from accounts.failed_attempts import WINDOW, note_failure, wait_before_next


@pytest.fixture
def two(monkeypatch: pytest.MonkeyPatch, redis_client: Any) -> Any:
    monkeypatch.setattr(failed_attempts, "MAX_FAILURES", 2)
    return redis_client


def fail_twice(peer: str) -> None:
    note_failure(peer)
    note_failure(peer)


def test_the_wait_begins_with_the_first_failure_and_ends(two: Any) -> None:
    assert wait_before_next("192.0.2.1") == 0
    note_failure("192.0.2.1")
    assert wait_before_next("192.0.2.1") == 0
    note_failure("192.0.2.1")
    assert 1 <= wait_before_next("192.0.2.1") <= WINDOW
    (name,) = two.keys("lg:refused_keys:*")
    assert 0 < two.ttl(name) <= WINDOW
    two.delete(name)  # as its expiry does
    assert wait_before_next("192.0.2.1") == 0


def test_further_failures_do_not_lengthen_the_wait(two: Any) -> None:
    fail_twice("192.0.2.1")
    (name,) = two.keys("lg:refused_keys:*")
    two.expire(name, 5)
    note_failure("192.0.2.1")
    assert two.ttl(name) <= 5


def test_an_ipv6_subscriber_is_one_whichever_of_the_addresses_it_takes(two: Any) -> None:
    note_failure("2001:db8::1")
    note_failure("2001:db8::ffff:2")
    assert wait_before_next("2001:db8::3")
    assert not wait_before_next("2001:db8:0:1::3")


def test_an_ipv4_address_is_one_in_both_of_its_spellings(two: Any) -> None:
    fail_twice("::ffff:192.0.2.1")
    assert wait_before_next("192.0.2.1")
    assert not wait_before_next("192.0.2.2")


def test_callers_without_an_address_are_not_counted_together(two: Any) -> None:
    fail_twice("")
    assert wait_before_next("") == 0
    assert two.keys("lg:refused_keys:*") == []


def test_without_redis_nothing_is_counted_and_redis_is_left_alone_for_a_while(
    settings: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    asked: list[str] = []
    real = failed_attempts.sync_client

    def noting(url: str) -> Any:
        asked.append(url)
        return real(url)

    monkeypatch.setattr(failed_attempts, "sync_client", noting)
    settings.REDIS_URL = f"unix://{tmp_path}/nobody.sock"
    for _ in range(3):
        note_failure("192.0.2.1")
        assert wait_before_next("192.0.2.1") == 0
    assert len(asked) == 1
