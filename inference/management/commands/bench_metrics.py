"""manage.py bench_metrics: what counting costs a request, and a scrape the web process."""

from __future__ import annotations

import json
import logging
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand

from inference.benchmark.access import own_servers
from inference.benchmark.machine import this_machine
from inference.benchmark.metrics_cost import TARGET, measure_metrics


class Command(BaseCommand):
    help = (
        "Measure what metrics cost, in microseconds of one call, against a Valkey made for it and "
        f"dropped afterwards. A request, its job included, may cost {TARGET:.0f}."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--calls", type=int, default=2000, help="calls of each series")
        parser.add_argument("--json", action="store_true", help="print one JSON line")

    def handle(self, *args: Any, **options: Any) -> None:
        logging.disable(logging.WARNING)
        machine = this_machine()
        with own_servers():
            costs = measure_metrics(max(10, options["calls"]))
        if options["json"]:
            body = {
                **machine.as_json(),
                "costs": [cost.as_json() for cost in costs],
            }
            self.stdout.write(json.dumps(body))
            return
        self.stdout.write(str(machine))
        for cost in costs:
            self.stdout.write(
                f"{cost.name:<48} median {cost.median:9.1f} µs   95 % {cost.p95:9.1f} µs"
            )
