"""Who samples and who leads, on a real Valkey."""

from __future__ import annotations

from typing import Any

from monitoring.monitor.lease import Lease

KEY = "lg:monitor:leader"


def lease(client: Any, holder: str, seconds: float = 10, **options: Any) -> Lease:
    return Lease(client, KEY, holder, seconds=seconds, **options)


def test_the_first_one_holds_it_and_keeps_it(redis_client: Any) -> None:
    first, second = lease(redis_client, "a"), lease(redis_client, "b")
    assert first.keep()
    assert not second.keep()
    assert first.keep()
    assert (first.is_held, second.is_held) == (True, False)


def test_a_released_one_is_free_at_once(redis_client: Any) -> None:
    first, second = lease(redis_client, "a"), lease(redis_client, "b")
    first.keep()
    first.release()
    assert not first.is_held
    assert second.keep()


def test_nobody_releases_what_another_holds(redis_client: Any) -> None:
    first, second = lease(redis_client, "a"), lease(redis_client, "b")
    first.keep()
    second.release()
    assert first.keep()
    assert not second.keep()


def test_one_that_is_not_kept_runs_out(redis_client: Any) -> None:
    first = lease(redis_client, "a")
    first.keep()
    assert 9000 < redis_client.pttl(KEY) <= 10_000
    redis_client.delete(KEY)  # as when its time is over
    assert lease(redis_client, "b").keep()
    assert not first.keep()
    assert not first.is_held


def test_a_holder_who_cannot_ask_holds_it_no_longer_than_it_lasts(redis_client: Any) -> None:
    now = [0.0]
    held = lease(redis_client, "a", clock=lambda: now[0])
    held.keep()
    now[0] = 9.9
    assert held.is_held
    now[0] = 10.1
    assert not held.is_held
