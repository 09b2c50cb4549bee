"""manage.py key create | list | show | rotate | revoke"""

from __future__ import annotations

import json
from argparse import ArgumentParser, ArgumentTypeError
from datetime import timedelta
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.utils import timezone

from accounts.api_keys import KeyText
from accounts.key_descriptions import describe_key
from accounts.models import ApiKey, User
from accounts.services.api_keys import (
    DEFAULT_GRACE,
    create_api_key,
    revoke_api_key,
    rotate_api_key,
)
from llamagpu.http.errors import AppError
from llamagpu.lib.durations import parse_duration


class Command(BaseCommand):
    help = (
        "Create, list, show, rotate and revoke API keys. `create` and `rotate` print the new key "
        "alone: it is shown only once."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        actions = parser.add_subparsers(dest="action", required=True)
        create = actions.add_parser("create", help="make a key and print it")
        create.add_argument("--user", required=True, help="the owner's user name")
        create.add_argument("--name", required=True, help="a label to recognise the key by")
        create.add_argument("--scopes", nargs="*", default=[], help="limit what the key may do")
        create.add_argument("--models", nargs="*", default=[], help="limit it to these models")
        create.add_argument("--ips", nargs="*", default=[], help="limit it to addresses, networks")
        create.add_argument("--expires-in", type=_duration, help="such as 30d; else it never ends")
        listing = actions.add_parser("list", help="show keys, never their secrets")
        listing.add_argument("--user", help="only this owner's keys")
        show = actions.add_parser("show", help="show all about one key but its secret")
        rotate = actions.add_parser("rotate", help="make a successor and print it")
        rotate.add_argument(
            "--grace", type=_duration, default=DEFAULT_GRACE, help="how long the old key works, 24h"
        )
        revoke = actions.add_parser("revoke", help="end a key at once")
        for action in (show, rotate, revoke):
            action.add_argument(
                "key", metavar="prefix", help="eight characters after lg_, or the id"
            )
        for action in (create, listing, show, rotate, revoke):
            action.add_argument("--json", action="store_true", help="print JSON for programs")

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            getattr(self, f"_{options['action']}")(options)
        except AppError as error:
            raise CommandError(error.message) from error

    def _create(self, options: dict[str, Any]) -> None:
        owner = User.objects.filter(username=options["user"]).first()
        if owner is None:
            raise CommandError(f"there is no user '{options['user']}'")
        lifetime = options["expires_in"]
        made = create_api_key(
            actor=None,
            user=owner,
            name=options["name"],
            scopes=options["scopes"],
            allowed_models=options["models"],
            allowed_ips=options["ips"],
            expires_at=timezone.now() + lifetime if lifetime is not None else None,
        )
        self._print_once(*made, as_json=options["json"])

    def _list(self, options: dict[str, Any]) -> None:
        keys = ApiKey.objects.with_relatives()
        if options["user"]:
            keys = keys.filter(user__username=options["user"])
        rows = [describe_key(key) for key in keys]
        if options["json"]:
            self.stdout.write(json.dumps(rows))
            return
        for row in rows:
            scopes = ",".join(row["scopes"]) or "all scopes"
            ends = f"until {row['expires_at']}" if row["expires_at"] else "for ever"
            columns = (row["prefix"], row["state"], row["user"], row["name"], scopes, ends)
            self.stdout.write("  ".join(columns))

    def _show(self, options: dict[str, Any]) -> None:
        fields = describe_key(_find(options["key"]))
        if options["json"]:
            self.stdout.write(json.dumps(fields))
            return
        for name, value in fields.items():
            shown = ", ".join(value) if isinstance(value, list) else value
            self.stdout.write(f"{name}: {shown if shown not in (None, '') else '-'}")

    def _rotate(self, options: dict[str, Any]) -> None:
        made = rotate_api_key(actor=None, key=_find(options["key"]), grace=options["grace"])
        self._print_once(*made, as_json=options["json"])

    def _revoke(self, options: dict[str, Any]) -> None:
        key = revoke_api_key(actor=None, key=_find(options["key"]))
        self.stdout.write(json.dumps(describe_key(key)) if options["json"] else f"revoked {key}")

    def _print_once(self, key: ApiKey, text: KeyText, *, as_json: bool) -> None:
        shown = json.dumps({"key": str(text), **describe_key(key)}) if as_json else str(text)
        self.stdout.write(shown)


def _find(reference: str) -> ApiKey:
    key = ApiKey.objects.named(reference).with_relatives().first()
    if key is None:
        raise CommandError(f"there is no key with the prefix or id '{reference}'")
    return key


def _duration(text: str) -> timedelta:
    try:
        return parse_duration(text)
    except ValueError as error:
        raise ArgumentTypeError(str(error)) from error
