"""Redis and the database as the serving processes see them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.db import OperationalError, connection

from monitoring import store_metrics
from monitoring.metrics.reading import Snapshot


@pytest.fixture(autouse=True)
def look_at_once(redis_client: Any) -> Iterator[None]:
    def forget() -> None:
        store_metrics._next_look = 0.0
        store_metrics._client.cache_clear()

    forget()
    yield
    forget()


@pytest.mark.django_db
def test_both_are_measured(redis_client: Any, counted: Callable[[], Snapshot]) -> None:
    redis_client.set("one", "1")
    store_metrics.look()
    found = counted()
    assert found.gauge("database_up") == 1
    assert found.gauge("redis_keys") == 1
    for name in ("redis_ping_seconds", "redis_memory_bytes", "redis_clients"):
        assert (found.gauge(name) or 0) > 0, name


@pytest.mark.django_db
def test_a_database_that_fails_is_told_and_its_time_is_not(
    counted: Callable[[], Snapshot],
) -> None:
    store_metrics.look()

    def refuse(*args: Any) -> None:
        raise OperationalError("the disk is full")

    with connection.execute_wrapper(refuse):
        store_metrics._look_at_database()
    found = counted()
    assert found.gauge("database_up") == 0
    assert found.gauge("database_ping_seconds") is None


@pytest.mark.django_db
def test_a_redis_that_is_away_leaves_no_old_figures(settings: Any) -> None:
    store_metrics.look()
    assert store_metrics.REDIS_MEMORY.values()
    settings.REDIS_URL = "redis://127.0.0.1:1"
    store_metrics._client.cache_clear()
    store_metrics._next_look = 0.0
    store_metrics.look()
    assert store_metrics.REDIS_MEMORY.values() == {}
