"""manage.py bench_access: what key, rights, rate and quotas cost a request."""

from __future__ import annotations

import json
import logging
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand
from django.db import connection

from inference.benchmark.access import measure_access, own_servers
from inference.benchmark.machine import this_machine


class Command(BaseCommand):
    help = (
        "Measure what authentication, limits and quotas cost, in milliseconds of one call, on a "
        "database and a Valkey made for it and dropped afterwards."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--calls", type=int, default=2000, help="calls of each series")
        parser.add_argument("--json", action="store_true", help="print one JSON line")

    def handle(self, *args: Any, **options: Any) -> None:
        logging.disable(logging.WARNING)
        machine = this_machine()
        with own_servers():
            figures = measure_access(max(10, options["calls"]))
        if options["json"]:
            body = {
                "database": connection.vendor,
                **machine.as_json(),
                "figures": [figure.as_json() for figure in figures],
            }
            self.stdout.write(json.dumps(body))
            return
        self.stdout.write(f"{connection.vendor}, {machine}")
        for figure in figures:
            self.stdout.write(
                f"{figure.name:<54} median {figure.median:6.2f} ms   95 % {figure.p95:6.2f} ms"
            )
