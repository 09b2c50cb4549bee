"""GGUF to a model folder, in a process of its own: it needs torch, and we do not import it."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from inference.pulling.child import run_program
from inference.pulling.errors import PullError, raise_if_disk_full

CONVERTER: tuple[str, ...] = (sys.executable, "-m", "inference.engine.convert")
# The converter's stages as parts of the whole: where each begins, and how much of it it is.
_SHARES = {"hash": (0.0, 0.05), "load": (0.05, 0.85), "verify": (0.9, 0.1)}


def convert(
    gguf: Path,
    folder: Path,
    on_fraction: Callable[[float], None],
    converter: Sequence[str] = CONVERTER,
) -> None:
    """Write the model into the new `folder`, manifest included. Raises PullError, OSError."""

    def on_line(line: str) -> bool:
        try:
            report = json.loads(line)
            begin, share = _SHARES.get(report["stage"], (1.0, 0.0))
            on_fraction(begin + share * float(report["fraction"]))
        except (ValueError, TypeError, KeyError):
            return False
        return True

    on_fraction(0.0)
    outcome = run_program([*converter, "--gguf", str(gguf), "--out", str(folder)], on_line)
    if outcome.status == 0 and folder.is_dir():
        on_fraction(1.0)
        return
    raise_if_disk_full(outcome.last_lines)
    reason = outcome.last_lines[-1] if outcome.last_lines else f"exit status {outcome.status}"
    raise PullError(f"{gguf.name} could not be converted: {reason.removeprefix('error: ')}")
