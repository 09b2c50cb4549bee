"""`python -m inference.benchmark.gpu`: prove and measure a GPU with a random Llama.

Started as a program, as everything outside the engine starts it: nothing here imports torch.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

_ROOT = Path(__file__).resolve().parents[2]


def main(arguments: list[str] | None = None) -> int:
    """Hand the arguments on (`--help` lists them); returns the exit status."""
    given = sys.argv[1:] if arguments is None else arguments
    command = [sys.executable, "-m", "inference.engine.trial", *given]
    try:
        return subprocess.run(command, cwd=_ROOT).returncode
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main())
