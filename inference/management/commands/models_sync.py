"""manage.py models_sync: register the models that the model root holds."""

from __future__ import annotations

import json
from argparse import ArgumentParser
from dataclasses import asdict
from typing import Any

from django.core.management.base import BaseCommand

from inference.catalog import sync_models


class Command(BaseCommand):
    help = "Bring the table of models in step with what lies under LLAMA_MODEL_PATH."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--json", action="store_true", help="print one JSON object")

    def handle(self, *args: Any, **options: Any) -> None:
        change = sync_models()
        if options["json"]:
            self.stdout.write(json.dumps(asdict(change)))
            return
        for slug in change.registered:
            self.stdout.write(f"registered {slug}")
        for slug in change.vanished:
            self.stdout.write(f"absent     {slug}")
        for slug, reason in change.rejected.items():
            self.stdout.write(f"rejected   {slug}: {reason}")
        for slug, reason in change.oversized.items():
            self.stdout.write(f"too large  {slug}: {reason}")
