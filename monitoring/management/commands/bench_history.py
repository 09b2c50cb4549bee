"""manage.py bench_history: a generated year in a database of its own, its size and how fast it answers."""

from __future__ import annotations

import itertools
import json
import statistics
import time
from argparse import ArgumentParser
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
from django.core.management.base import BaseCommand
from django.db import connection

from monitoring.history.generated import year_of_samples
from monitoring.history.query import GRANULARITIES, read_columns, span_of
from monitoring.history.series import SERIES, USUAL
from monitoring.history.total import read_total
from monitoring.models import MetricSample
from monitoring.services.history import write_samples

_BATCH = 2000


class Command(BaseCommand):
    help = (
        "Generate the history of a year of one machine in a database of its own, beside the one in "
        "use, and measure its size and the queries over seven days. The database is removed again."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--models", type=int, default=3, help="models that are served")
        parser.add_argument("--repeat", type=int, default=20, help="times that a query is asked")
        parser.add_argument("--json", action="store_true", help="print one JSON object")

    def handle(self, *args: Any, **options: Any) -> None:
        with _own_database():
            empty = _size()
            started = time.perf_counter()
            count = _fill(options["models"])
            report = {
                "database": connection.vendor,
                "models": options["models"],
                "rows": count,
                "written_in": round(time.perf_counter() - started, 1),
                "megabytes": round((_size() - empty) / 1e6, 1),
                "seven_days_ms": _measure(options["repeat"]),
                "last_hour_ms": _measure_status(options["repeat"]),
            }
        if options["json"]:
            self.stdout.write(json.dumps(report))
            return
        for name, value in report.items():
            self.stdout.write(f"{name}: {value}")


def _fill(num_models: int) -> int:
    now, count = time.time(), 0
    samples = year_of_samples(now, num_models)
    while batch := list(itertools.islice(samples, _BATCH)):
        count += write_samples(batch, now)
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE")  # as the database does by itself in the long run
    return count


def _measure(repeat: int) -> dict[str, dict[str, float]]:
    """From the query to the bytes of the answer, for each granularity: median, slowest, and the median
    of the time that this process computed, which other work on the machine does not stretch."""
    found = {}
    for granularity in GRANULARITIES:
        for label, names in (("usual", USUAL), ("all", tuple(SERIES))):

            def ask(granularity: str = granularity, names: tuple[str, ...] = names) -> None:
                span = span_of("7d", granularity)
                columns = read_columns(MetricSample.objects.all(), span, names)
                msgspec.json.encode([column.values for column in columns])

            found[f"{granularity}, {label} series"] = _times(ask, repeat)
    return found


def _measure_status(repeat: int) -> dict[str, float]:
    """What the status says of the jobs of the last hour, however many there were."""
    return _times(lambda: read_total(MetricSample.objects.all(), 3600), repeat)


def _times(ask: Callable[[], object], repeat: int) -> dict[str, float]:
    times, computed = [], []
    for _ in range(repeat):
        started, used = time.perf_counter(), time.process_time()
        ask()
        times.append(1000 * (time.perf_counter() - started))
        computed.append(1000 * (time.process_time() - used))
    return {
        "median": round(statistics.median(times), 1),
        "slowest": round(max(times), 1),
        "computed": round(statistics.median(computed), 1),
    }


def _size() -> int:
    """Bytes of the table with its indexes; of the file, where a database is one."""
    if connection.vendor == "sqlite":
        with connection.cursor() as cursor:
            cursor.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        return Path(str(connection.settings_dict["NAME"])).stat().st_size
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_total_relation_size(%s::regclass)", [MetricSample._meta.db_table])
        return int(cursor.fetchone()[0])


@contextmanager
def _own_database() -> Iterator[None]:
    """Made by the means of Django's test runner, migrated, and gone in the end."""
    name = str(connection.settings_dict["NAME"])
    connection.creation.create_test_db(verbosity=0, autoclobber=True, serialize=False)
    try:
        yield
    finally:
        connection.creation.destroy_test_db(name, verbosity=0)
