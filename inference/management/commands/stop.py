"""manage.py stop MODEL: have the workers unload it."""

from __future__ import annotations

import json
from argparse import ArgumentParser
from dataclasses import asdict
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from inference.management.named_model import gib, named_model
from inference.model_control import unload_model
from inference.model_progress import wait_until_gone
from llamagpu.http.errors import AppError

#: Seconds that the command waits: running requests have thirty to end in.
_PATIENCE = 60.0


class Command(BaseCommand):
    help = "Unload a model once its running requests have ended. A later request loads it again."
    requires_system_checks = ()

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("model")
        parser.add_argument("--json", action="store_true", help="print one JSON object")

    def handle(self, *args: Any, **options: Any) -> None:
        model = named_model(options["model"])
        try:
            unloaded = unload_model(actor=None, model=model)
            result = wait_until_gone(unloaded, patience=_PATIENCE)
        except AppError as error:
            raise CommandError(error.message) from error
        if options["json"]:
            self.stdout.write(json.dumps({"model": model.slug, **asdict(result)}))
        if not result.is_gone:
            raise CommandError(f"'{model.slug}' is still being unloaded: see manage.py ps")
        if not options["json"]:
            freed = gib(result.freed_memory) if result.freed_memory else "nothing was loaded"
            self.stdout.write(f"{model.slug} is unloaded ({freed})")
