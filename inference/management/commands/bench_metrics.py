"""manage.py bench_metrics: what watching costs: counting, tracing, a scrape, a monitor."""

from __future__ import annotations

import json
import logging
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand

from inference.benchmark.access import own_servers
from inference.benchmark.machine import this_machine
from inference.benchmark.metrics_cost import TARGET, busy_portal, measure_metrics
from inference.benchmark.monitor_use import TARGET as MONITOR_TARGET
from inference.benchmark.monitor_use import measure_monitor
from inference.benchmark.tracing_cost import measure_tracing


class Command(BaseCommand):
    help = (
        "Measure what metrics and traces cost, in microseconds of one call, against a Valkey made for "
        f"it and dropped afterwards. Counting a request, its job included, may cost {TARGET:.0f}. "
        f"With --monitor also a monitor, which may take {MONITOR_TARGET:.0%} of a core."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--calls", type=int, default=2000, help="calls of each series")
        parser.add_argument(
            "--monitor", type=float, default=0, help="seconds to watch a monitor, such as 60"
        )
        parser.add_argument("--json", action="store_true", help="print one JSON line")

    def handle(self, *args: Any, **options: Any) -> None:
        logging.disable(logging.WARNING)
        machine = this_machine()
        with own_servers():
            calls = max(10, options["calls"])
            costs = measure_metrics(calls) + measure_tracing(calls)
            seconds = options["monitor"]
            use = measure_monitor(seconds, busy_portal()) if seconds > 0 else None
        if options["json"]:
            body = {
                **machine.as_json(),
                "costs": [cost.as_json() for cost in costs],
                "monitor": use.as_json() if use else None,
            }
            self.stdout.write(json.dumps(body))
            return
        self.stdout.write(str(machine))
        for cost in costs:
            self.stdout.write(
                f"{cost.name:<48} median {cost.median:9.1f} µs   95 % {cost.p95:9.1f} µs"
            )
        if use:
            self.stdout.write(
                f"a monitor took {use.share:.2%} of a core over {use.seconds:.0f} s "
                f"and holds {use.resident_bytes / 1e6:.0f} MB"
            )
