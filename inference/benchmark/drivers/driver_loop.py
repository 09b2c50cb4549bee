"""The part of a peer's driver that all drivers share: orders in, results out, one JSON line each.

Runs inside the peer's own environment, beside the driver that imports it, with the standard library
alone. `{"model", "num_threads", "context"}` comes first and is answered by `{"ready": facts}`; each
later line is `{"prompts", "new_tokens", "concurrency"}` and is answered by `{"traces": [...]}` with
one `[sent, [[time, tokens], ...]]` per prompt, in seconds since the run began. An order that fails
is answered by `{"error": text}`.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from typing import Any, Protocol


class Driver(Protocol):
    """One loaded model."""

    def facts(self) -> dict[str, str]:
        """What is worth knowing about it."""

    def run(
        self,
        prompts: list[list[int]],
        new_tokens: int,
        concurrency: int,
        now: Callable[[], float],
    ) -> list[Any]:
        """The traces; `now` is seconds since the run began."""


def serve(load: Callable[[dict[str, Any]], Driver]) -> None:
    """Load the model that the first line names, then serve until the orders end."""
    # What a library prints must not come between the answers.
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)

    def answer(message: dict[str, Any]) -> None:
        answers.write(json.dumps(message) + "\n")
        answers.flush()

    driver = load(json.loads(sys.stdin.readline()))
    answer({"ready": driver.facts()})
    for line in sys.stdin:
        order = json.loads(line)
        started = time.perf_counter()
        try:
            traces = driver.run(
                order["prompts"],
                order["new_tokens"],
                order["concurrency"],
                lambda since=started: time.perf_counter() - since,  # type: ignore[misc]
            )
        except Exception as error:  # noqa: BLE001 - the other side decides what follows
            answer({"error": f"{type(error).__name__}: {error}"})
        else:
            answer({"traces": traces})
