"""The benchmark of metrics measures what really counts."""

from __future__ import annotations

from typing import Any

import pytest

from inference.benchmark.metrics_cost import measure_metrics
from monitoring.metrics.reading import read_snapshot


@pytest.mark.django_db
def test_every_part_is_measured_and_has_counted(redis_client: Any) -> None:
    costs = measure_metrics(10)
    assert all(cost.count == 10 and 0 < cost.median <= cost.p95 for cost in costs)
    assert len({cost.name for cost in costs}) == len(costs) == 7
    found = read_snapshot(redis_client)
    assert found.counter("generation_tokens_total", model_name="model-4") > 0
    assert found.counter("request_success_total", model_name="model-4", finished_reason="stop") > 0
    assert found.counter("http_requests_total", endpoint="api/infer", status="2xx") > 0
