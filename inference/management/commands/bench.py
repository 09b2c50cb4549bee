"""manage.py bench: how fast the engine is, beside other engines on the same cores."""

from __future__ import annotations

import sys
from argparse import ArgumentParser
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from inference.benchmark.command import BenchmarkError, run_benchmark
from inference.benchmark.options import add_arguments


class Command(BaseCommand):
    help = (
        "Measure speed, latency, scale and memory of the engine, and compare it with vLLM, "
        "llama.cpp, OpenVINO GenAI and transformers, each installed for it once. Stop what else "
        "runs on the machine first."
    )
    requires_system_checks = ()

    def add_arguments(self, parser: ArgumentParser) -> None:
        add_arguments(parser, settings.LLAMA)

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            status = run_benchmark(options, self.stdout.write)
        except BenchmarkError as error:
            raise CommandError(str(error)) from error
        except KeyboardInterrupt:
            self.stderr.write("stopped")
            sys.exit(130)
        if status:
            sys.exit(status)
