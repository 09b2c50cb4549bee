"""Samples wait while the database is away, a bounded number of them, and what is lost is counted."""

from __future__ import annotations

import time
from typing import Any

import pytest
from django.db import connection

from monitoring.history.recorder import Recorder
from monitoring.history.rows import read_samples
from monitoring.models import MetricSample
from tests.monitoring.history.samples import cluster_at, figure, node_at

NOW = int(time.time())


def starts() -> list[int]:
    return sorted(MetricSample.objects.values_list("start", flat=True))


@pytest.mark.django_db
def test_what_waits_is_written_together(django_assert_max_num_queries: Any) -> None:
    recorder = Recorder()
    for second in range(20):
        recorder.add(node_at(NOW + second, second))
    with django_assert_max_num_queries(4):
        assert recorder.flush()
    assert len(starts()) == 20
    assert recorder.num_waiting == 0


@pytest.mark.django_db
def test_two_readings_of_one_second_are_one() -> None:
    recorder = Recorder()
    recorder.add(node_at(NOW, 10))
    recorder.add(node_at(NOW, 30))
    recorder.flush()
    assert starts() == [NOW]


@pytest.mark.django_db
def test_a_second_reading_of_a_second_that_is_written_already_is_added_to_it() -> None:
    recorder = Recorder()
    for requests in (2, 3):
        recorder.add(cluster_at(NOW, requests=requests))
        recorder.flush()
    recorder.add(cluster_at(NOW + 1, requests=4))
    recorder.flush()
    rows = list(read_samples(MetricSample.objects.order_by("start")))
    assert [figure(row, "requests") for row in rows] == [5, 4]


@pytest.mark.django_db(transaction=True, serialized_rollback=True)
def test_a_database_that_refuses_loses_nothing_while_there_is_room() -> None:
    recorder = Recorder(max_waiting=5)
    with without_table():
        for second in range(3):
            recorder.add(node_at(NOW + second, 1))
            assert not recorder.flush()
        assert (recorder.num_waiting, recorder.dropped) == (3, 0)
    assert recorder.flush()
    assert starts() == [NOW, NOW + 1, NOW + 2]


@pytest.mark.django_db(transaction=True, serialized_rollback=True)
def test_beyond_that_the_oldest_are_dropped_and_counted() -> None:
    recorder = Recorder(max_waiting=5)
    with without_table():
        for second in range(8):
            recorder.add(node_at(NOW + second, 1))
            recorder.flush()
    assert recorder.dropped == 3
    assert recorder.flush()
    assert starts() == [NOW + second for second in range(3, 8)]


@pytest.mark.skipif(connection.vendor != "sqlite", reason="only a file can be given a size")
@pytest.mark.django_db(transaction=True, serialized_rollback=True)
def test_on_a_full_disk_samples_wait_until_there_is_room() -> None:
    recorder = Recorder()
    recorder.add(node_at(NOW, 1))
    with connection.cursor() as cursor:
        cursor.execute("VACUUM")  # what other tests have freed would be room
        cursor.execute("PRAGMA page_count")
        (pages,) = cursor.fetchone()
        cursor.execute("PRAGMA freelist_count")
        (free,) = cursor.fetchone()
        cursor.execute(f"PRAGMA max_page_count = {pages}")
        for second in range(1, 100 + free * 12):
            recorder.add(node_at(NOW + second, second))
        assert not recorder.flush()
        waiting = recorder.num_waiting
        assert waiting > 0
        cursor.execute("PRAGMA max_page_count = 1073741823")
    assert recorder.flush()
    assert (recorder.num_waiting, recorder.dropped) == (0, 0)
    assert len(starts()) == min(100 + free * 12, 1200)


@pytest.mark.django_db
def test_a_sample_that_is_older_than_what_is_kept_is_counted_and_not_written() -> None:
    recorder = Recorder()
    recorder.add(node_at(NOW - 86_400, 1))
    assert recorder.flush()
    assert (starts(), recorder.dropped) == ([], 1)


class without_table:
    """The table is away, as a whole database would be."""

    _name = MetricSample._meta.db_table

    def __enter__(self) -> None:
        self._rename(self._name, f"{self._name}_away")

    def __exit__(self, *error: object) -> None:
        self._rename(f"{self._name}_away", self._name)

    def _rename(self, old: str, new: str) -> None:
        with connection.schema_editor() as editor:
            editor.execute(f"ALTER TABLE {old} RENAME TO {new}")
