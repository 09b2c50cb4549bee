"""manage.py ps: the engines that run now."""

from __future__ import annotations

import json
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from inference.management.named_model import gib, table
from inference.model_progress import running_engines
from llamagpu.http.errors import AppError

_HEAD = ("MODEL", "STATE", "BACKEND", "MEMORY", "RUNNING", "WAITING", "IDLE", "WORKER")


class Command(BaseCommand):
    help = "Show the models that are loaded, and what their engines do."
    requires_system_checks = ()

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--json", action="store_true", help="print one JSON list")

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            engines = running_engines()
        except AppError as error:
            raise CommandError(error.message) from error
        if options["json"]:
            self.stdout.write(json.dumps(engines))
            return
        self.stdout.write(table(_HEAD, [_row(engine) for engine in engines]))


def _row(engine: dict[str, Any]) -> tuple[str, ...]:
    state = engine["state"]
    if state == "loading":
        state = f"{engine['stage']} {engine['progress']:.0%}"
    return (
        engine["model"],
        state,
        engine["backend"] or "-",
        gib(engine["resident_bytes"]),
        str(engine["num_running"]),
        str(engine["num_waiting"]),
        f"{engine['idle_for']:.0f} s",
        engine["worker"],
    )
