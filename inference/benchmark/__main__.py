"""`python -m inference.benchmark`: the same as `manage.py bench`, without Django."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from inference.benchmark.command import BenchmarkError, run_benchmark
from inference.benchmark.options import add_arguments
from llamagpu.lib.config import LlamaConfig
from llamagpu.lib.env import Env, EnvError

_PROJECT_ROOT = Path(__file__).resolve().parents[2]


def main(arguments: list[str] | None = None) -> int:
    """The command line; returns the exit status."""
    try:
        config = LlamaConfig.from_env(Env(), _PROJECT_ROOT)
    except EnvError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    parser = argparse.ArgumentParser(prog="python -m inference.benchmark", description=__doc__)
    add_arguments(parser, config)
    try:
        return run_benchmark(vars(parser.parse_args(arguments)), _print)
    except BenchmarkError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    except KeyboardInterrupt:
        sys.stderr.write("stopped\n")
        return 130


def _print(text: str) -> None:
    sys.stdout.write(f"{text}\n")


if __name__ == "__main__":
    sys.exit(main())
