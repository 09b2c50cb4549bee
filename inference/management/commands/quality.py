"""manage.py quality: how close a model stays to its float32 self, by the engine's own program."""

from __future__ import annotations

import subprocess
import sys
from argparse import ArgumentParser
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand

from monitoring.configuration import current

# A process of its own: nothing but the engine loads torch.
PROGRAM: tuple[str, ...] = (sys.executable, "-m", "inference.engine.quality")


class Command(BaseCommand):
    help = "Perplexity and agreement of a model with float32; fails where it is beyond the limit."
    requires_system_checks = ()

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("model", nargs="?", help="a folder's name (default: the default model)")
        parser.add_argument("--level", nargs="+", help="optimization levels, 0 to 3")
        parser.add_argument("--tokens", help="only so many of the text")
        parser.add_argument("--json", action="store_true", help="one JSON object")

    def handle(self, *args: Any, **options: Any) -> None:
        config = settings.LLAMA
        folder = config.model_path / (options["model"] or current().default_model)
        command = [*PROGRAM, "--model", str(folder)]
        if options["level"]:
            command += ["--level", *options["level"]]
        if options["tokens"]:
            command += ["--tokens", options["tokens"]]
        if options["json"]:
            command.append("--json")
        try:
            status = subprocess.run(command, cwd=settings.BASE_DIR, check=False).returncode
        except KeyboardInterrupt:
            status = 130
        if status:
            sys.exit(status)
