"""manage.py reset_second_factor: for who has lost phone and recovery codes."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand

from accounts.management.named_user import named_user
from accounts.services.second_factor import reset_second_factor


class Command(BaseCommand):
    help = "Remove a user's second factor and end the user's sessions."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--user", required=True, help="the user name")

    def handle(self, *args: Any, **options: Any) -> None:
        user = named_user(options["user"])
        removed = reset_second_factor(actor=None, user=user)
        said = "removed; all sessions have ended" if removed else "was not on"
        self.stdout.write(f"Second factor of '{user}': {said}")
