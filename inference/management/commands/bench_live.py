"""manage.py bench_live: delay and costs of live metrics for many watchers."""

from __future__ import annotations

import json
import os
from argparse import ArgumentParser
from dataclasses import asdict
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from inference.benchmark.machine import this_machine
from inference.benchmark.portal.live_watchers import ENVIRONMENT, LiveFigures, measure_live
from inference.benchmark.portal.own_stack import WEB_SERVERS, StackError, own_stack


class Command(BaseCommand):
    help = (
        "Measure how metrics that are published once a second reach many live sockets: a stack of its "
        "own is started, and ended afterwards."
    )
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--server", choices=[*WEB_SERVERS], default="daphne")
        parser.add_argument("--watchers", type=int, default=200, help="sockets that watch")
        parser.add_argument("--seconds", type=int, default=20, help="how long is measured")
        parser.add_argument("--json", action="store_true", help="print one JSON line")

    def handle(self, *args: Any, **options: Any) -> None:
        os.environ.update(ENVIRONMENT)
        try:
            with own_stack(options["server"], settings.LLAMA.model_path) as stack:
                figures = measure_live(stack, options["watchers"], options["seconds"])
        except (StackError, OSError) as error:
            raise CommandError(str(error)) from error
        if options["json"]:
            machine = this_machine()
            record = {"server": options["server"], **asdict(figures)}
            self.stdout.write(json.dumps({**record, "machine": asdict(machine)}))
        else:
            self.stdout.write(_describe(options["server"], figures))


def _describe(server: str, figures: LiveFigures) -> str:
    return (
        f"{server}: {figures.watchers} watchers, {figures.events} events, "
        f"{figures.delivered} deliveries\n"
        f"delay p50 {figures.p50_ms:.1f} ms, p99 {figures.p99_ms:.1f} ms, "
        f"worst {figures.worst_ms:.1f} ms\n"
        f"web process: {100 * figures.cpu:.1f} % of one core, {figures.memory_mib:.0f} MiB"
    )
