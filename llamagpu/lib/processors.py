"""On which processors a process runs."""

from __future__ import annotations

import os


def keep_to(num_processors: int) -> tuple[int, ...]:
    """Keep this thread, and those that it will start, to so many of the processors that it may use: to the
    first ones; 0 is half of them. Returns their numbers.
    """
    allowed = sorted(os.sched_getaffinity(0))
    chosen = allowed[: num_processors or max(1, len(allowed) // 2)]
    os.sched_setaffinity(0, chosen)
    return tuple(chosen)
