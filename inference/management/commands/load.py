"""manage.py load MODEL: have the workers load it, and wait until they have."""

from __future__ import annotations

import json
import sys
import time
from argparse import ArgumentParser
from dataclasses import asdict
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from inference.load_options import BACKENDS, MAX_LEVEL, LoadOptions
from inference.management.named_model import named_model
from inference.model_control import load_model
from inference.model_progress import ModelProgress, progress_of
from inference.models import Model
from inference.states import ModelState
from llamagpu.http.errors import AppError
from llamagpu.lib.memory import MemoryLimit

_POLL = 0.2


class Command(BaseCommand):
    help = "Load a model. What is not given follows the configuration."
    requires_system_checks = ()

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("model")
        parser.add_argument("--backend", choices=BACKENDS)
        parser.add_argument("--optimization-level", type=int, choices=range(MAX_LEVEL + 1))
        parser.add_argument("--max-memory", help="such as 2GiB or 25%%")
        parser.add_argument("--devices", type=int, nargs="+", help="numbers of GPUs")
        parser.add_argument(
            "--keep-alive", type=int, help="seconds without a request; -1: for ever"
        )
        parser.add_argument(
            "--pin", action="store_true", help="never unload it for want of requests"
        )
        parser.add_argument("--no-wait", action="store_true", help="return at once")
        parser.add_argument("--json", action="store_true", help="print one JSON object at the end")

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            model = load_model(
                actor=None,
                model=named_model(options["model"]),
                options=_options(options),
                changes=_changes(options),
            )
            progress = progress_of(model) if options["no_wait"] else self._wait(model, options)
        except AppError as error:
            raise CommandError(error.message) from error
        except KeyboardInterrupt:
            self.stderr.write("no longer waiting; the workers go on: manage.py stop unloads it")
            sys.exit(130)
        if options["json"]:
            self.stdout.write(json.dumps({"model": model.slug, **asdict(progress)}))
        if progress.state is ModelState.FAILED:
            raise CommandError(progress.error or f"'{model.slug}' could not be loaded")
        if not options["json"]:
            self.stdout.write(f"{model.slug} is {progress.state}")

    def _wait(self, model: Model, options: dict[str, Any]) -> ModelProgress:
        """Tell the stages until nothing is under way."""
        said = ""
        while True:
            progress = progress_of(model)
            if progress.is_settled:
                return progress
            text = f"{progress.stage} {progress.fraction:.0%}"
            if text != said and not options["json"]:
                self.stdout.write(text)
                self.stdout.flush()
            said = text
            time.sleep(_POLL)


def _options(given: dict[str, Any]) -> LoadOptions:
    if given["max_memory"]:
        try:
            MemoryLimit.parse(given["max_memory"])
        except ValueError as error:
            raise CommandError(f"--max-memory: {error}") from error
    return LoadOptions(
        backend=given["backend"],
        optimization_level=given["optimization_level"],
        max_memory=given["max_memory"] or None,
        devices=tuple(given["devices"]) if given["devices"] else None,
    )


def _changes(given: dict[str, Any]) -> dict[str, Any]:
    changes: dict[str, Any] = {"is_pinned": True} if given["pin"] else {}
    if given["keep_alive"] is not None:
        changes["keep_alive"] = given["keep_alive"]
    return changes
