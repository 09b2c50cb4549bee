"""manage.py run MODEL ["prompt"]: talk to a model in the terminal."""

from __future__ import annotations

import json
import os
import sys
from argparse import ArgumentParser
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from accounts.models import User
from inference.management.named_model import named_model
from inference.management.terminal_chat import Chat, ChatError, temporary_key
from llamagpu.http.errors import AppError

_HELP = "/clear forgets what was said, /bye or Ctrl-D leaves, Ctrl-C stops an answer."


class Command(BaseCommand):
    help = (
        "Talk to a model through the running server; it is loaded if need be. With a prompt: one "
        "answer. A key is taken from LLAMAGPU_API_KEY, else one is made for as long as this runs."
    )
    requires_system_checks = ()

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("model")
        parser.add_argument("prompt", nargs="?", help="what to say (default: ask for it)")
        parser.add_argument("--system", help="a system message to begin with")
        parser.add_argument("--max-tokens", type=int, help="longest answer")
        parser.add_argument("--temperature", type=float)
        parser.add_argument("--url", help="where the server listens")
        parser.add_argument("--user", help="whose key is made (default: the first admin's)")
        parser.add_argument(
            "--json", action="store_true", help="print the answer as one JSON object"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        model = named_model(options["model"]).slug
        if options["json"] and options["prompt"] is None:
            raise CommandError("--json needs a prompt")
        self.stdout.ending = ""  # text comes in pieces
        if key := os.environ.get("LLAMAGPU_API_KEY"):
            self._talk(Chat(_url(options), key, model), options)
            return
        try:
            with temporary_key(_user(options["user"]), model) as key:
                self._talk(Chat(_url(options), key, model), options)
        except AppError as error:
            raise CommandError(error.message) from error

    def _talk(self, chat: Chat, options: dict[str, Any]) -> None:
        named = {"max_tokens": options["max_tokens"], "temperature": options["temperature"]}
        chat.parameters = {name: value for name, value in named.items() if value is not None}
        if options["system"]:
            chat.messages.append({"role": "system", "content": options["system"]})
        if options["prompt"] is None:
            self._converse(chat)
            return
        try:
            chat.ask(options["prompt"], self._ignore if options["json"] else self._show)
        except ChatError as error:
            raise CommandError(str(error)) from error
        except KeyboardInterrupt:
            self.stdout.write("\n")
            sys.exit(130)
        if options["json"]:
            answer = chat.messages[-1]["content"] if chat.messages else ""
            self.stdout.write(json.dumps({"model": chat.model, "answer": answer}) + "\n")
        else:
            self.stdout.write("\n")

    def _converse(self, chat: Chat) -> None:
        """Until /bye, Ctrl-D, or Ctrl-C where nothing is being answered."""
        first = list(chat.messages)
        self.stdout.write(f"{chat.model}. {_HELP}\n")
        while True:
            try:
                text = input(">>> ").strip()
            except (EOFError, KeyboardInterrupt):
                self.stdout.write("\n")
                return
            if text == "/bye":
                return
            if text == "/clear":
                chat.messages[:] = first
            elif text.startswith("/"):
                self.stdout.write(f"{_HELP}\n")
            elif text:
                self._answer(chat, text)

    def _answer(self, chat: Chat, text: str) -> None:
        try:
            chat.ask(text, self._show)
            self.stdout.write("\n")
        except KeyboardInterrupt:
            self.stdout.write("\n(stopped)\n")
        except ChatError as error:
            self.stderr.write(f"{error}\n")

    def _show(self, text: str) -> None:
        self.stdout.write(text)
        self.stdout.flush()

    def _ignore(self, text: str) -> None:
        """The answer comes whole, at the end."""


def _url(options: dict[str, Any]) -> str:
    config = settings.LLAMA
    host = "127.0.0.1" if config.host in ("0.0.0.0", "::", "[::]") else config.host  # noqa: S104
    default = os.environ.get("LLAMAGPU_HOST") or f"http://{host}:{config.port}"
    return str(options["url"] or default).rstrip("/")


def _user(name: str | None) -> User:
    wanted = name or settings.LLAMA.admin_username
    user = User.objects.filter(username=wanted, is_active=True).first()
    if user is None:
        raise CommandError(f"there is no active user '{wanted}': name one with --user")
    return user
