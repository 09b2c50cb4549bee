"""When database connections are given back, and when they are kept."""

from __future__ import annotations

import threading

from django.db import connections

_thread = threading.local()


def keep_connections() -> None:
    """Say that this thread lives long: `release_connections` leaves it its SQLite connection."""
    _thread.keeps = True


def release_connections() -> None:
    """Close this thread's connections (to the pool, where there is one).

    Call it before waiting for a generation: a waiting request would pin its connection for as long.
    A test's open transaction is left alone, and so is what `keep_connections` speaks of, unless it has
    met an error.
    """
    keeps = getattr(_thread, "keeps", False)
    for connection in connections.all(initialized_only=True):
        is_kept = keeps and connection.vendor == "sqlite" and not connection.errors_occurred
        if not connection.in_atomic_block and not is_kept:
            connection.close()
