"""manage.py reset_link: a one-time link under which somebody sets a new password."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand

from accounts.management.named_user import named_user
from accounts.services.passwords import make_reset_link


class Command(BaseCommand):
    help = (
        "Print a one-time link that sets a new password. It works for an hour; nothing is mailed."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--user", required=True, help="the user name")

    def handle(self, *args: Any, **options: Any) -> None:
        config = settings.LLAMA
        base_url = config.public_url or f"http://{config.host}:{config.port}"
        user = named_user(options["user"])
        self.stdout.write(make_reset_link(actor=None, user=user, base_url=base_url))
