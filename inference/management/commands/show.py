"""manage.py show MODEL: everything about one model."""

from __future__ import annotations

import json
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand

from inference.management.named_model import named_model
from inference.status import describe_models


class Command(BaseCommand):
    help = "Show what is known of a model: its files, how it is to be served, what is loaded of it."
    requires_system_checks = ()

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("model")
        parser.add_argument("--json", action="store_true", help="print one JSON object")

    def handle(self, *args: Any, **options: Any) -> None:
        (model,) = describe_models([named_model(options["model"])])
        if options["json"]:
            self.stdout.write(json.dumps(model))
            return
        width = max(len(name) for name in model)
        for name, value in model.items():
            self.stdout.write(f"{name.ljust(width)}  {_text(value)}")


def _text(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, dict | list):
        return json.dumps(value)
    return str(value)
