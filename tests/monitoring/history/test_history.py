"""The history in the database: batches, late and double samples, roll-ups, retention."""

from __future__ import annotations

import math
from typing import Any

import pytest

from monitoring.history.rows import read_samples
from monitoring.history.samples import RESOLUTIONS, Sample
from monitoring.models import MetricSample
from monitoring.services.history import kept_from, remove_expired, write_samples
from monitoring.services.rollups import GRACE, roll_up
from tests.monitoring.history.samples import T0, cluster_at, figure, node_at

pytestmark = pytest.mark.django_db


def rows_of(resolution: int) -> list[Sample]:
    return list(read_samples(MetricSample.objects.filter(resolution=resolution).order_by("start")))


def everything() -> list[tuple[Any, ...]]:
    columns = ("node", "resolution", "start", "covered", "figures", "details")
    rows = MetricSample.objects.order_by("resolution", "start", "node").values_list(*columns)
    return [tuple(bytes(v) if isinstance(v, memoryview) else v for v in row) for row in rows]


def an_hour(start: int = T0) -> list[Sample]:
    """Ten samples a minute of a node and of the cluster."""
    samples = []
    for second in range(start, start + 3600, 6):
        samples.append(node_at(second, cpu=second % 50, covered=6))
        samples.append(cluster_at(second, 2, [0.02, 0.3]))
    return samples


def test_a_sample_comes_back_as_it_was() -> None:
    sample = cluster_at(T0, 3, [0.01, 5.0])
    write_samples([sample], now=T0)
    (back,) = rows_of(1)
    assert (back.node, back.start, back.covered, back.details) == ("", T0, 1.0, sample.details)
    assert figure(back, "requests") == 3
    assert figure(back, "latency_p50") == pytest.approx(figure(sample, "latency_p50"), abs=1e-6)


def test_the_same_sample_twice_is_one() -> None:
    for _ in range(2):
        write_samples([node_at(T0, 10)], now=T0)
    assert len(rows_of(1)) == 1


def test_after_a_clock_was_set_back_the_later_truth_holds() -> None:
    write_samples([node_at(T0, 10)], now=T0)
    write_samples([node_at(T0, 70)], now=T0 + 1)
    (row,) = rows_of(1)
    assert row.figures[0] == 70


def test_an_hour_of_seconds_becomes_every_longer_bucket() -> None:
    write_samples(an_hour(), now=T0 + 3600)
    roll_up(now=T0 + 3600 + GRACE)
    counts = [MetricSample.objects.filter(resolution=r).count() for r in RESOLUTIONS]
    assert counts == [1200, 120, 24, 8, 2]
    hour = next(sample for sample in rows_of(3600) if sample.node == "")
    assert (hour.start, figure(hour, "requests"), hour.covered) == (T0, 1200, 600)
    node = next(sample for sample in rows_of(3600) if sample.node == "a")
    assert node.covered == 3600
    assert figure(node, "cpu_usage_max") == 48


def test_a_roll_up_that_is_repeated_changes_nothing() -> None:
    write_samples(an_hour(), now=T0 + 3600)
    roll_up(now=T0 + 3610)
    before = everything()
    assert roll_up(now=T0 + 3610) == 0
    MetricSample.objects.exclude(resolution=1).delete()
    assert roll_up(now=T0 + 3700) == 154
    assert everything() == before


def test_a_bucket_that_has_not_ended_is_not_rolled_up() -> None:
    write_samples([node_at(T0, 10)], now=T0)
    roll_up(now=T0 + 60 + GRACE - 1)
    assert rows_of(60) == []
    roll_up(now=T0 + 60 + GRACE)
    assert len(rows_of(60)) == 1


def test_a_bucket_that_was_open_at_one_run_is_seen_at_the_next() -> None:
    for second in range(0, 300, 20):
        write_samples([node_at(T0 + second, second)], now=T0 + second)
        roll_up(now=T0 + second)
    roll_up(now=T0 + 320)
    assert [figure(sample, "cpu_usage_max") for sample in rows_of(60)] == [40, 100, 160, 220, 280]


def test_samples_that_come_late_are_taken_in() -> None:
    write_samples([node_at(T0, 10)], now=T0)
    roll_up(now=T0 + 3600)
    write_samples([node_at(T0 + 1, 90)], now=T0 + 3500)
    roll_up(now=T0 + 3700)
    assert rows_of(60)[0].figures[0] == 50
    assert rows_of(3600)[0].figures[0] == 50


def test_no_gap_is_filled() -> None:
    write_samples([node_at(T0, 10), node_at(T0 + 600, 20)], now=T0 + 600)
    roll_up(now=T0 + 1200)
    assert [sample.start for sample in rows_of(60)] == [T0, T0 + 600]
    assert math.isnan(figure(rows_of(60)[0], "gpu_usage"))


def test_a_clock_that_was_ahead_stops_no_roll_up() -> None:
    write_samples([node_at(T0 + 7200, 1)], now=T0 + 7200)
    roll_up(now=T0 + 7200 + 3600)
    write_samples([node_at(T0, 10)], now=T0)  # it was set back by two hours
    roll_up(now=T0 + 70)
    assert T0 in [sample.start for sample in rows_of(60)]


def test_a_bucket_whose_seconds_are_partly_gone_stays_as_it_is() -> None:
    write_samples(an_hour(), now=T0 + 3600)
    roll_up(now=T0 + 3610)
    much_later = T0 + 3 * 3600
    remove_expired(now=much_later)
    write_samples([node_at(T0 + 1, 99)], now=much_later)
    roll_up(now=much_later)
    assert figure(rows_of(60)[1], "cpu_usage_max") < 99


def test_each_length_is_kept_as_long_as_the_configuration_says() -> None:
    write_samples([Sample("a", r, T0, 1.0, node_at(T0, 1).figures) for r in RESOLUTIONS], now=T0)
    left = {}
    for days in (0, 1, 9, 93, 401):
        remove_expired(now=T0 + days * 86_400 + 3600)
        left[days] = sorted(MetricSample.objects.values_list("resolution", flat=True))
    assert left == {
        0: [1, 60, 300, 900, 3600],
        1: [60, 300, 900, 3600],
        9: [900, 3600],
        93: [3600],
        401: [],
    }


def test_what_a_clock_that_was_ahead_has_left_goes_too() -> None:
    write_samples([node_at(T0 + 10 * 86_400, 1)], now=T0)
    assert remove_expired(now=T0) == 1


def test_the_border_is_one_of_whole_hours() -> None:
    assert all(kept_from(resolution, T0 + 1234) % 3600 == 0 for resolution in RESOLUTIONS)
