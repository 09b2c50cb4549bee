"""Gives database connections back before a request waits for something slow."""

from __future__ import annotations

from django.db import connections


def release_connections() -> None:
    """Close this thread's connections (to the pool, where there is one).

    Call it before waiting for a generation: a waiting request would pin its connection for as long.
    A test's open transaction is left alone.
    """
    for connection in connections.all(initialized_only=True):
        if not connection.in_atomic_block:
            connection.close()
