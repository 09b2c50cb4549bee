"""manage.py key create | list | revoke"""

from __future__ import annotations

import json
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from accounts.models import ApiKey, User
from accounts.services.api_keys import create_api_key, revoke_api_key
from llamagpu.http.errors import AppError


class Command(BaseCommand):
    help = "Create, list and revoke API keys. `create` prints the key alone: it is shown only once."

    def add_arguments(self, parser: ArgumentParser) -> None:
        actions = parser.add_subparsers(dest="action", required=True)
        create = actions.add_parser("create", help="make a key and print it")
        create.add_argument("--user", required=True, help="the owner's user name")
        create.add_argument("--name", required=True, help="a label to recognise the key by")
        create.add_argument("--scopes", nargs="*", default=[], help="limit what the key may do")
        listing = actions.add_parser("list", help="show keys, never their secrets")
        listing.add_argument("--user", help="only this owner's keys")
        listing.add_argument("--json", action="store_true")
        revoke = actions.add_parser("revoke", help="end a key at once")
        revoke.add_argument("prefix", help="the eight characters after lg_")

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            getattr(self, f"_{options['action']}")(options)
        except AppError as error:
            raise CommandError(error.message) from error

    def _create(self, options: dict[str, Any]) -> None:
        owner = User.objects.filter(username=options["user"]).first()
        if owner is None:
            raise CommandError(f"there is no user '{options['user']}'")
        _, text = create_api_key(
            actor=None, user=owner, name=options["name"], scopes=options["scopes"]
        )
        self.stdout.write(str(text))

    def _list(self, options: dict[str, Any]) -> None:
        keys = ApiKey.objects.select_related("user")
        if options["user"]:
            keys = keys.filter(user__username=options["user"])
        if options["json"]:
            self.stdout.write(json.dumps([_describe(key) for key in keys]))
            return
        for key in keys:
            fields = _describe(key)
            self.stdout.write("  ".join(str(value) for value in fields.values()))

    def _revoke(self, options: dict[str, Any]) -> None:
        key = ApiKey.objects.filter(prefix=options["prefix"]).first()
        if key is None:
            raise CommandError(f"there is no key with the prefix '{options['prefix']}'")
        revoke_api_key(actor=None, key=key)
        self.stdout.write(f"revoked {key}")


def _describe(key: ApiKey) -> dict[str, Any]:
    state = "usable" if key.is_usable else "revoked" if key.revoked_at else "expired"
    return {
        "prefix": key.prefix,
        "user": key.user.username,
        "name": key.name,
        "state": state,
        "scopes": key.scopes,
        "created_at": key.created_at.isoformat(timespec="seconds"),
    }
