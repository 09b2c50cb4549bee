"""manage.py bench_plugins: what plugins cost a request."""

from __future__ import annotations

import json
import logging
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand

from inference.benchmark.machine import this_machine
from inference.benchmark.plugins import measure_plugins


class Command(BaseCommand):
    help = (
        "Measure what plugins cost, in milliseconds: none, all built-in ones, one in a process of its "
        "own. No database, Redis or model is needed."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--calls", type=int, default=2000, help="calls of each series")
        parser.add_argument("--json", action="store_true", help="print one JSON line")

    def handle(self, *args: Any, **options: Any) -> None:
        logging.disable(logging.WARNING)
        machine = this_machine()
        costs = measure_plugins(max(10, options["calls"]))
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
                f"{cost.name:<62} median {cost.median:9.4f} ms   95 % {cost.p95:9.4f} ms   "
                f"target {cost.target:g} ms"
            )
