"""manage.py audit_archive: old audit rows to sealed files. For a daily timer."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from llamagpu.http.errors import AppError
from monitoring.configuration import current
from monitoring.services.audit_archive import archive_audit_rows
from monitoring.services.audit_verification import archive_folder


class Command(BaseCommand):
    help = (
        "Move audit rows older than the retention (LLAMA_AUDIT_RETENTION_DAYS) to sealed files in "
        "<data dir>/audit-archive."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--days", type=int, help="instead of the configured retention")

    def handle(self, *args: Any, **options: Any) -> None:
        days = current().audit_retention_days if options["days"] is None else options["days"]
        if options["days"] is None and days == 0:
            self.stdout.write("nothing to do: LLAMA_AUDIT_RETENTION_DAYS is 0, all rows stay")
            return
        try:
            seals = archive_audit_rows(actor=None, days=days)
        except AppError as error:
            raise CommandError(error.message) from error
        for seal in seals:
            self.stdout.write(f"{archive_folder() / seal.file_name}: {seal.num_rows} rows")
        if not seals:
            self.stdout.write(f"nothing to do: no row is older than {days} days")
