"""manage.py plugin list | show | scan | approve | load | unload | reload | … | new | check | try"""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from llamagpu.http.errors import AppError
from plugins_app.management.plugin_verbs import authoring, configuration, lifecycle, reading

#: Each adds verbs of one family.
FAMILIES = (reading, lifecycle, configuration, authoring)


class Command(BaseCommand):
    help = "Find, approve, load, set and order plugins; write, check and try them."
    requires_system_checks = ()

    def add_arguments(self, parser: ArgumentParser) -> None:
        verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")
        for family in FAMILIES:
            family.add_to(verbs)

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            options["handler"](self.stdout, options)
        except AppError as error:
            raise CommandError(error.message) from error
