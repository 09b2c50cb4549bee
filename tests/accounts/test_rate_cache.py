from __future__ import annotations

import secrets
from typing import Any

import pytest
from django.core.cache import caches

from accounts import rate_cache


@pytest.fixture
def name(redis_client: Any) -> str:
    return f"counter:{secrets.token_hex(4)}"


def test_a_counter_begins_once_and_rises(name: str) -> None:
    cache = caches["rates"]
    assert cache.add(name, 1, 60)
    assert [cache.incr(name) for _ in range(3)] == [2, 3, 4]
    assert not cache.add(name, 1, 60)


def test_another_process_s_counter_is_not_begun_anew(name: str) -> None:
    cache = caches["rates"]
    cache.add(name, 1, 60)
    rate_cache._seen.clear()
    assert not cache.add(name, 1, 60)
    assert cache.incr(name) == 2


def test_a_counter_that_redis_lost_begins_anew_and_expires(name: str) -> None:
    cache: Any = caches["rates"]
    cache.add(name, 1, 60)
    cache.incr(name)
    cache.delete(name)
    assert not cache.add(name, 1, 60)  # this process believes that it is there
    assert cache.incr(name) == 1
    assert 0 < cache.ttl(name) <= 60


def test_what_is_remembered_is_bounded(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rate_cache, "_MOST_REMEMBERED", 10)
    for number in range(30):
        caches["rates"].add(f"{name}:{number}", 1, 60)
    assert len(rate_cache._seen) <= 10
