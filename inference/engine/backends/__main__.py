"""`python -m inference.engine.backends [--backend NAME]`: the selection as one JSON object.

For processes that must not import torch. Exit status 1 where the backend asked for is not there;
the object's `selected` is then null and `error` says why.
"""

from __future__ import annotations

import argparse
import json
import sys
from typing import Any

from inference.engine.backends.selection import select_backend
from inference.engine.config import BACKENDS
from inference.engine.errors import BackendUnavailable


def main(arguments: list[str] | None = None) -> int:
    """The command line; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m inference.engine.backends")
    parser.add_argument("--backend", choices=BACKENDS, default="auto")
    options = parser.parse_args(arguments)
    status = 0
    report: dict[str, Any]
    try:
        selection = select_backend(options.backend)
        report = {
            "selected": selection.backend.name,
            "rejected": selection.rejected,
            "capabilities": selection.backend.get_capabilities(),
        }
    except BackendUnavailable as error:
        report = {
            "selected": None,
            "rejected": error.rejected,
            "capabilities": {},
            "error": error.message,
        }
        status = 1
    sys.stdout.write(json.dumps(report) + "\n")
    return status


if __name__ == "__main__":
    sys.exit(main())
