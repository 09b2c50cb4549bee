"""manage.py serve: the whole stack in the foreground, until Ctrl-C."""

from __future__ import annotations

import sys
from argparse import ArgumentParser, ArgumentTypeError
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from llamagpu.supervisor.console import Console
from llamagpu.supervisor.errors import StartError, StopRequested
from llamagpu.supervisor.launch import ServeOptions, serve


class Command(BaseCommand):
    help = (
        "Start Valkey, a worker, a monitor and the web server, and keep them running until Ctrl-C."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        config = settings.LLAMA
        parser.add_argument("--host", default=config.host, help="address to listen on")
        parser.add_argument("--port", type=_port, default=config.port, help="port to listen on")
        parser.add_argument(
            "--no-pull", action="store_true", help="do not fetch the built-in model when missing"
        )
        parser.add_argument(
            "--start-timeout",
            type=float,
            default=600.0,
            metavar="SECONDS",
            help="give up when not ready by then (default: %(default)s)",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        wanted = ServeOptions(
            host=options["host"],
            port=options["port"],
            may_pull=not options["no_pull"],
            start_timeout=options["start_timeout"],
        )
        try:
            console = Console(sys.stderr, as_json=settings.LLAMA.log_format == "json")
            serve(wanted, console, self._announce)
        except StopRequested:
            self.stdout.write("stopped")
        except StartError as error:
            raise CommandError(str(error)) from error

    def _announce(self, text: str) -> None:
        self.stdout.write(text)
        self.stdout.flush()  # whoever reads us through a pipe waits for this


def _port(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= 65535:
        raise ArgumentTypeError("must be a number from 1 to 65535")
    return int(text)
