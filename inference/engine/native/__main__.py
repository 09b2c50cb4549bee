"""`python -m inference.engine.native --model FOLDER --cache-dir DIR`: prepare the fast path.

Progress goes to stdout as JSON lines `{"stage": ..., "fraction": ...}`, the last line is
`{"file": ..., "perplexity_ratio": ..., "top1_agreement": ..., "num_tokens": ...}`. Exit status: 0
done, 1 it could not be done (one line on stderr), 3 the kernels do not compute this model.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import IO

from inference.engine.threads import calm_waiting_threads

Progress = Callable[[str, float], None]

EXIT_FAILED = 1
EXIT_UNSUPPORTED = 3


def main(arguments: list[str] | None = None) -> int:
    """The command line; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m inference.engine.native")
    parser.add_argument("--model", type=Path, required=True, help="folder of the model")
    parser.add_argument("--cache-dir", type=Path, required=True, help="where the result is kept")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--nice", type=int, default=0, help="give way to others: 0 to 19")
    options = parser.parse_args(arguments)
    os.nice(options.nice)
    calm_waiting_threads()
    report = sys.stdout

    def progress(stage: str, fraction: float) -> None:
        line = json.dumps({"stage": stage, "fraction": round(fraction, 4)})
        print(line, file=report, flush=True)

    # Libraries print to stdout as they like; the reader of our lines must not see that.
    with contextlib.redirect_stdout(sys.stderr):
        return _prepare(options, progress, report)


def _prepare(options: argparse.Namespace, progress: Progress, report: IO[str]) -> int:
    from inference.engine.errors import EngineError
    from inference.engine.native.extract import UnsupportedModel
    from inference.engine.native.library import KernelError
    from inference.engine.native.preparation import prepare
    from inference.model_files import ModelFilesError, read_model_files

    try:
        files = read_model_files(options.model)
        prepared = prepare(files, options.cache_dir, options.threads, progress)
    except UnsupportedModel as error:
        print(f"{options.model}: {error}", file=sys.stderr, flush=True)
        return EXIT_UNSUPPORTED
    except (EngineError, KernelError, ModelFilesError, OSError, MemoryError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr, flush=True)
        return EXIT_FAILED
    found = {"file": str(prepared.file), **asdict(prepared.qualification)}
    print(json.dumps(found), file=report, flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
