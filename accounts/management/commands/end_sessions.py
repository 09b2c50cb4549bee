"""manage.py end_sessions: signs users out everywhere."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand

from accounts.management.named_user import named_user
from accounts.models import User
from accounts.services.sessions import end_sessions


class Command(BaseCommand):
    help = "End every session of one user or of all. API keys go on."

    def add_arguments(self, parser: ArgumentParser) -> None:
        whose = parser.add_mutually_exclusive_group(required=True)
        whose.add_argument("--user", help="the user name")
        whose.add_argument("--all", action="store_true", help="everybody")

    def handle(self, *args: Any, **options: Any) -> None:
        users = list(User.objects.all()) if options["all"] else [named_user(options["user"])]
        for user in users:
            end_sessions(actor=None, user=user)
        self.stdout.write(f"Sessions ended: {len(users)} user{'s' if len(users) != 1 else ''}")
