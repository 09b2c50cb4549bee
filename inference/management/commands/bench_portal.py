"""manage.py bench_portal: what the portal adds to a request, with an engine that answers at once."""

from __future__ import annotations

import json
import sys
from argparse import ArgumentParser
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from inference.benchmark.machine import this_machine
from inference.benchmark.portal.measurements import (
    Figure,
    NothingMeasuredError,
    PortalFigures,
    Work,
    measure,
)
from inference.benchmark.portal.own_stack import WEB_SERVERS, StackError, own_stack


class Command(BaseCommand):
    help = (
        "Measure the portal's own share of a request: a whole stack of its own is started, whose "
        "engine computes nothing."
    )
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--server", choices=[*WEB_SERVERS], nargs="+", default=["daphne"])
        usual = Work()
        parser.add_argument("--calls", type=int, default=usual.calls, help="calls of a series")
        parser.add_argument("--callers", type=int, default=usual.callers, help="callers at once")
        parser.add_argument("--streams", type=int, default=usual.streams, help="streams at once")
        parser.add_argument("--tokens", type=int, default=usual.tokens, help="tokens of a stream")
        parser.add_argument("--json", action="store_true", help="print one JSON line")

    def handle(self, *args: Any, **options: Any) -> None:
        names = ("calls", "callers", "streams", "tokens")
        work = Work(**{name: max(1, options[name]) for name in names})
        machine = this_machine()
        results = []
        for server in options["server"]:
            self._tell(f"{server}: starting a stack")
            try:
                with own_stack(server, settings.LLAMA.model_path) as stack:
                    results.append(measure(stack, server, work, self._tell))
            except (StackError, NothingMeasuredError) as error:
                raise CommandError(f"{server}: {error}") from error
        if options["json"]:
            body = {
                **machine.as_json(),
                "results": [result.as_json() for result in results],
            }
            self.stdout.write(json.dumps(body))
            return
        self.stdout.write(str(machine))
        for result in results:
            self._show(result)

    def _show(self, result: PortalFigures) -> None:
        mib = 1 << 20
        self.stdout.write(
            f"{result.web_server}: memory of the web process {result.idle_memory / mib:.0f} MiB idle, "
            f"{result.memory_after / mib:.0f} MiB afterwards"
        )
        for figure in result.figures:
            self.stdout.write(f"  {_line(figure)}")

    def _tell(self, text: str) -> None:
        sys.stderr.write(f"{text}\n")


def _line(figure: Figure) -> str:
    rate = f"   {figure.rate:6.1f} /s" if figure.rate else ""
    cpu = ", ".join(f"{name} {spent:.2f}" for name, spent in figure.cpu.items())
    return (
        f"{figure.name:<32} median {figure.median or 0:7.2f} ms   95 % {figure.p95 or 0:7.2f}   "
        f"99 % {figure.p99 or 0:7.2f}{rate}   errors {figure.errors}   CPU ms each: {cpu}"
    )
