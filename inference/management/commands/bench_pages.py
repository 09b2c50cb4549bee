"""manage.py bench_pages: how soon the overview can be used, and what open dashboards cost the server."""

from __future__ import annotations

import json
import shutil
import statistics
import sys
from argparse import ArgumentParser
from typing import TYPE_CHECKING, Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from inference.benchmark.machine import this_machine
from inference.benchmark.portal.own_stack import StackError
from inference.benchmark.portal.whole_server import whole_server

if TYPE_CHECKING:
    from inference.benchmark.portal.page_costs import PageFigures


class Command(BaseCommand):
    help = (
        "Measure pages in Chromium: how soon the overview shows live figures, the script that each page "
        "loads, and the processor's time that open dashboards take. A whole server of its own is "
        "started, and ended afterwards."
    )
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--dashboards", type=int, default=10, help="open at once")
        parser.add_argument(
            "--seconds", type=float, default=30.0, help="how long their cost is taken"
        )
        parser.add_argument("--repeat", type=int, default=10, help="visits with each kind of cache")
        parser.add_argument(
            "--chromium", default=shutil.which("chromium"), help="path of the browser"
        )
        parser.add_argument("--json", action="store_true", help="print one JSON line")

    def handle(self, *args: Any, **options: Any) -> None:
        try:  # Playwright is among what tests need: the portal itself goes without
            from inference.benchmark.portal import page_costs
        except ImportError as error:
            raise CommandError(
                "Playwright is needed: pip install -r requirements-dev.txt"
            ) from error
        if not options["chromium"]:
            raise CommandError("Chromium is needed: apt install chromium, or --chromium PATH")
        names = ("dashboards", "seconds", "repeat")
        work = page_costs.Work(**{name: max(1, options[name]) for name in names})
        machine = this_machine()
        try:
            with whole_server(settings.LLAMA.model_path) as server:
                figures = page_costs.measure_pages(server, options["chromium"], work, self._tell)
        except (StackError, OSError) as error:
            raise CommandError(str(error)) from error
        if options["json"]:
            self.stdout.write(json.dumps({**machine.as_json(), **figures.as_json()}))
        else:
            self.stdout.write(f"{machine}\n{_describe(figures)}")

    def _tell(self, text: str) -> None:
        sys.stderr.write(f"{text}\n")


def _describe(figures: PageFigures) -> str:
    lines = [
        f"overview usable, {cache} cache: median {statistics.median(times):.0f} ms "
        f"({min(times):.0f} to {max(times):.0f}, {len(times)} visits)"
        for cache, times in figures.usable.items()
    ]
    lines += [
        f"script {page.num_bytes / 1000:6.1f} kB in {page.num_scripts:2} files   {page.path}"
        for page in figures.scripts
    ]
    lines += [
        _cost("idle server", figures.idle, figures.seconds),
        _cost(f"{figures.dashboards} dashboards", figures.watched, figures.seconds),
        f"what the dashboards add: {100 * figures.cpu_of_dashboards():.1f} % of one core",
    ]
    return "\n".join([*lines, *(f"missed: {target}" for target in figures.missed())])


def _cost(title: str, spent: Any, seconds: float) -> str:
    parts = ", ".join(f"{name} {used:.2f}" for name, used in sorted(spent.items()))
    total = sum(spent.values())
    return (
        f"{title}: {total:.2f} core-seconds in {seconds:.0f} s, "
        f"{100 * total / seconds:.1f} % of one core ({parts})"
    )
