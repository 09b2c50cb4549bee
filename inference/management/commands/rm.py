"""manage.py rm MODEL: delete a model."""

from __future__ import annotations

import json
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from inference.management.named_model import named_model
from inference.services.registration import remove_model
from llamagpu.http.errors import AppError


class Command(BaseCommand):
    help = (
        "Delete a model: it is unloaded and served no more. The files of a pulled model go too, all "
        "others stay unless --files says otherwise."
    )
    requires_system_checks = ()

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("model")
        group = parser.add_mutually_exclusive_group()
        group.add_argument(
            "--files", action="store_true", default=None, help="delete its files too"
        )
        group.add_argument(
            "--keep-files", dest="files", action="store_false", help="leave its files"
        )
        parser.add_argument("--json", action="store_true", help="print one JSON object")

    def handle(self, *args: Any, **options: Any) -> None:
        model = named_model(options["model"])
        try:
            removed = remove_model(actor=None, model=model, with_files=options["files"])
        except AppError as error:
            raise CommandError(error.message) from error
        has_files = bool(removed.path)
        if options["json"]:
            said = {"model": removed.slug, "state": removed.state, "files_kept": has_files}
            self.stdout.write(json.dumps(said))
        else:
            self.stdout.write(f"{removed.slug} is deleted{', its files stay' if has_files else ''}")
