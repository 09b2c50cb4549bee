"""The benchmark of a monitor watches one that really runs, from outside."""

from __future__ import annotations

from typing import Any

import pytest

from inference.benchmark.monitor_use import measure_monitor
from monitoring.monitor.presence import live_monitors


@pytest.mark.django_db
def test_a_monitor_of_its_own_is_watched_and_ended(redis_client: Any) -> None:
    leaders = []

    def every_second() -> None:
        leaders.extend(report for report in live_monitors(redis_client).values() if report)

    use = measure_monitor(1.0, every_second)
    assert leaders[0].is_leader
    assert use.seconds >= 1.0
    assert use.cpu_seconds == pytest.approx(use.share * use.seconds)
    assert use.resident_bytes > 20 * 2**20
    assert live_monitors(redis_client) == {}  # it has taken its leave
