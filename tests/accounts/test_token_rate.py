"""Tokens a minute: sixty seconds that move along, on a real server."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from accounts import token_rate
from accounts.limit_policies import Limit
from accounts.limit_subjects import SubjectKind
from accounts.token_rate import reserve_tokens, settle_tokens, tokens_this_minute


def limited(value: int, subject: str = "user:1") -> tuple[str, Limit]:
    kind = SubjectKind.KEY if subject.startswith("key") else SubjectKind.USER
    return subject, Limit("tokens_per_minute", kind, value, "user")


@pytest.fixture(autouse=True)
def real_counters(redis_client: Any) -> None: ...


def age(client: Any, subject: str, job: str, seconds: float) -> None:
    """As if the job had been admitted that long ago."""
    client.zincrby(f"lg:tokens:{subject}:times", -seconds * 1000, job)


def test_what_fits_is_set_aside() -> None:
    assert reserve_tokens("a", 60, [limited(100)]) is None
    assert reserve_tokens("b", 40, [limited(100)]) is None
    full = reserve_tokens("c", 1, [limited(100)])
    assert full is not None
    assert (full.used, full.limit.value) == (100, 100)
    assert 1 <= full.wait <= 60
    assert tokens_this_minute("user:1") == 100


def test_a_minute_later_it_counts_no_more(redis_client: Any) -> None:
    reserve_tokens("a", 60, [limited(100)])
    reserve_tokens("b", 40, [limited(100)])
    age(redis_client, "user:1", "a", 61)
    age(redis_client, "user:1", "b", 20)
    assert tokens_this_minute("user:1") == 40
    assert reserve_tokens("c", 60, [limited(100)]) is None


def test_the_wait_is_as_long_as_it_must_be(redis_client: Any) -> None:
    for job, tokens, seconds in (("a", 30, 50), ("b", 50, 40), ("c", 20, 5)):
        reserve_tokens(job, tokens, [limited(100)])
        age(redis_client, "user:1", job, seconds)
    for asked, wait in ((30, 10), (31, 20), (80, 20), (81, 55), (101, 60)):
        full = reserve_tokens("d", asked, [limited(100)])
        assert full is not None
        assert wait - 5 < full.wait <= wait + 1


def test_the_end_corrects_what_was_set_aside() -> None:
    reserve_tokens("a", 90, [limited(100)])
    settle_tokens([("a", 15, ["user:1"])])
    assert tokens_this_minute("user:1") == 15
    settle_tokens([("a", 15, ["user:1"]), ("unknown", 50, ["user:1"]), ("a", 20, ["user:2"])])
    assert tokens_this_minute("user:1") == 15
    assert tokens_this_minute("user:2") == 0


def test_all_subjects_or_none() -> None:
    reserve_tokens("a", 50, [limited(60, "key:7")])
    both = [limited(1000), limited(60, "key:7")]
    full = reserve_tokens("b", 20, both)
    assert full is not None
    assert full.limit.subject is SubjectKind.KEY
    assert tokens_this_minute("user:1") == 0
    assert reserve_tokens("c", 10, both) is None
    assert (tokens_this_minute("user:1"), tokens_this_minute("key:7")) == (10, 60)


def test_nothing_stays_behind(redis_client: Any) -> None:
    reserve_tokens("a", 1, [limited(10)])
    for key in ("lg:tokens:user:1:times", "lg:tokens:user:1:counts"):
        assert 0 < redis_client.pttl(key) <= 120_000


def test_many_at_once_take_exactly_the_limit() -> None:
    admitted: list[bool] = []

    def take(number: int) -> None:
        admitted.append(reserve_tokens(str(number), 10, [limited(105)]) is None)

    threads = [threading.Thread(target=take, args=[number]) for number in range(40)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert admitted.count(True) == 10
    assert token_rate.tokens_this_minute("user:1") == 100
