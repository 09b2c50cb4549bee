"""manage.py ensure_admin: the first Admin, made where the database has none."""

from __future__ import annotations

import json
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from accounts.services.first_admin import ensure_first_admin
from llamagpu.http.errors import AppError


class Command(BaseCommand):
    help = (
        "Create the first Admin from LLAMA_ADMIN_USERNAME and LLAMA_ADMIN_PASSWORD, if none exists."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--json", action="store_true", help="print one JSON line")

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            outcome = ensure_first_admin()
        except AppError as error:
            raise CommandError(f"LLAMA_ADMIN_USERNAME / LLAMA_ADMIN_PASSWORD: {error}") from error
        path = str(outcome.password_file) if outcome.password_file else None
        if options["json"]:
            fields = {
                "created": outcome.created,
                "username": outcome.username,
                "password_file": path,
            }
            self.stdout.write(json.dumps(fields))
            return
        made = "created" if outcome.created else "already there"
        where = f"; its first password is in {path}" if path else ""
        self.stdout.write(f"Admin '{outcome.username}' {made}{where}")
