"""manage.py monitor: samples this machine and does the installation's background duties."""

from __future__ import annotations

import signal
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand

from monitoring.monitor.process import Monitor


class Command(BaseCommand):
    help = (
        "Measure this machine once a second, publish it, keep its history. One runs on every machine; "
        "`manage.py serve` starts it."
    )
    requires_system_checks = []

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--node", help="name of this machine (default: its host name)")

    def handle(self, *args: Any, **options: Any) -> None:
        monitor = Monitor(node=options["node"])
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: monitor.stop())
        monitor.run()
