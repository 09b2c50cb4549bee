"""manage.py list: the models that there are."""

from __future__ import annotations

import json
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand

from inference.management.named_model import gib, table
from inference.models import Model
from inference.status import describe_models

_HEAD = ("MODEL", "STATE", "SIZE", "CONTEXT", "FORMAT", "")


class Command(BaseCommand):
    help = "List the registered models and whether they are loaded."
    requires_system_checks = ()

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--json", action="store_true", help="print one JSON list")

    def handle(self, *args: Any, **options: Any) -> None:
        models = describe_models(Model.objects.known())
        if options["json"]:
            self.stdout.write(json.dumps(models))
            return
        self.stdout.write(table(_HEAD, [_row(model) for model in models]))


def _row(model: dict[str, Any]) -> tuple[str, ...]:
    marks = {
        "default": model["is_default"],
        "pinned": model["pinned"],
        "disabled": not model["enabled"],
    }
    return (
        model["id"],
        model["state"],
        gib(model["size"]),
        str(model["context_length"]),
        model["format"],
        ", ".join(name for name, holds in marks.items() if holds),
    )
