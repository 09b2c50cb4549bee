"""What the status says of the last hour's jobs: added up, never filled in."""

from __future__ import annotations

import time
from collections.abc import Sequence

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from inference.job_statistics import statistics_section
from monitoring.history.details import Details, ModelDetails
from monitoring.history.figures import CLUSTER_FIGURES, listed
from monitoring.history.samples import CLUSTER, Sample
from monitoring.metrics.histograms import LATENCY_BUCKETS, observed
from monitoring.services.history import write_samples
from monitoring.services.rollups import roll_up

pytestmark = pytest.mark.django_db


def second(start: int, ended: int, latencies: Sequence[float], **errors: float) -> Sample:
    """A second in which so many jobs ended, of which those with a latency did so well."""
    histograms = {"latency": observed(latencies, LATENCY_BUCKETS)} if latencies else {}
    sums = (float(ended), sum(errors.values()), 0.0, 0.0)
    details = Details({"m": ModelDetails(sums, histograms)}, errors)
    return Sample(CLUSTER, 1, start, 1.0, listed(CLUSTER_FIGURES, {"requests": ended}), details)


def test_jobs_are_told_by_how_they_ended() -> None:
    now = int(time.time())
    write_samples(
        [
            second(now - 600, 3, [0.2, 0.2]),  # one was cancelled
            second(now - 300, 5, [0.2], DEADLINE_EXCEEDED=1, INFERENCE_FAILED=3),
        ]
    )
    told = statistics_section()
    assert told["jobs"] == {"succeeded": 3, "failed": 3, "expired": 1, "cancelled": 1}
    assert told["latency"]["count"] == 3
    assert told["latency"]["p50"] == pytest.approx(0.2, rel=0.5)
    assert (told["window"], told["covered"]) == (3600.0, 2.0)


def test_percentiles_are_those_of_all_minutes_together() -> None:
    now = int(time.time())
    fast = [second(now - 60 * minute, 99, [0.01] * 99) for minute in range(1, 11)]
    write_samples([*fast, second(now - 1000, 10, [9.0] * 10)])
    roll_up()
    latency = statistics_section()["latency"]
    assert latency["count"] == 1000
    assert latency["p50"] < 0.02
    assert latency["p99"] < 0.02  # ten of a thousand, and not one of two groups
    write_samples([second(now - 1001, 1, [9.0])])
    roll_up()
    assert statistics_section()["latency"]["p99"] > 6


def test_what_is_older_than_an_hour_or_of_a_node_does_not_count() -> None:
    write_samples([second(int(time.time()) - 3700, 1, [0.2])])
    assert statistics_section()["jobs"]["succeeded"] == 0


def test_nothing_watched_is_nothing_told() -> None:
    told = statistics_section()
    assert told["covered"] == 0.0
    assert set(told["jobs"].values()) == {0}
    for name in ("latency", "ttft", "queue_time"):
        assert told[name] == {"count": 0, "p50": None, "p95": None, "p99": None}


def test_no_job_is_read_for_it() -> None:
    with CaptureQueriesContext(connection) as queries:
        statistics_section()
    assert not [query for query in queries if "inferencejob" in query["sql"]]
