"""Random calls, right and wrong, for every operation: no 5xx, nothing that is not described."""

from __future__ import annotations

from pathlib import Path

from inference.benchmark.portal.own_stack import OwnStack
from tests.contract.fuzz import run


def test_every_call_is_answered_as_it_is_described(portal: OwnStack, tmp_path: Path) -> None:
    """The same calls each time, few of them by chance; `make fuzz` makes others, and many."""
    done = run(
        portal, tmp_path, "--phases", "examples,coverage,fuzzing", "--max-examples", "2",
        "--max-time", "90", "--seed", "1",
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-40_000:] + done.stderr
