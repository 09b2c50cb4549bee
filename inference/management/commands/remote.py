"""manage.py remote: add a model that another server of OpenAI's API computes."""

from __future__ import annotations

import json
import sys
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from inference.services.upstreams import RemoteModel, register_remote
from inference.upstream_models import CAPABILITIES, DEFAULT_CAPABILITIES, DEFAULT_SILENCE
from inference.upstreams import PREFIX
from llamagpu.http.errors import AppError


class Command(BaseCommand):
    help = (
        "Add a remote model, e.g. of a vLLM server. Its host must be in LLAMA_UPSTREAM_ALLOW. "
        "The upstream's key is read from a file, so that no list of processes shows it."
    )
    requires_system_checks = ()

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("url", help="where its API begins, e.g. http://gpu-1:8000/v1")
        parser.add_argument("upstream_model", help="the model's name there")
        parser.add_argument(
            "--context", type=int, required=True, help="tokens that prompt and answer may fill"
        )
        parser.add_argument("--name", default="", help="its name here (default: the upstream's)")
        parser.add_argument(
            "--key-file", help="a file with the upstream's key; - reads it from stdin"
        )
        parser.add_argument(
            "--timeout",
            type=int,
            default=DEFAULT_SILENCE,
            help="seconds that the upstream may send nothing (default: %(default)s)",
        )
        parser.add_argument(
            "--offers",
            nargs="+",
            choices=CAPABILITIES,
            default=DEFAULT_CAPABILITIES,
            help=f"what it offers (default: {' '.join(DEFAULT_CAPABILITIES)})",
        )
        parser.add_argument("--json", action="store_true", help="print one JSON object")

    def handle(self, *args: Any, **options: Any) -> None:
        remote = RemoteModel(
            base_url=options["url"].removeprefix(PREFIX),
            upstream_model=options["upstream_model"],
            context_length=options["context"],
            slug=options["name"],
            key=_key(options["key_file"]),
            silence=options["timeout"],
            capabilities=tuple(options["offers"]),
        )
        try:
            model = register_remote(actor=None, remote=remote)
        except AppError as error:
            raise CommandError(error.message) from error
        if options["json"]:
            self.stdout.write(json.dumps({"model": model.slug}))
        else:
            self.stdout.write(f"{model.slug} is registered: manage.py load {model.slug} tries it")


def _key(path: str | None) -> str:
    if path is None:
        return ""
    try:
        text = sys.stdin.read() if path == "-" else Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise CommandError(f"--key-file: cannot be read: {error}") from error
    return text.strip()
