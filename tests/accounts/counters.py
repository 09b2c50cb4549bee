"""Servers that count, for tests which stop them; people whose minute has just begun."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from django_ratelimit import core

from accounts.models import User
from llamagpu.supervisor.valkey import EmbeddedValkey, find_server

_end_of_minute = core._get_window


def hold_the_minute(monkeypatch: pytest.MonkeyPatch) -> None:
    """No counting minute of this process ends for now: a test that counts sees only one."""
    end = int(time.time()) + 40
    monkeypatch.setattr(core, "_get_window", lambda value, period: end)


@contextmanager
def counting_server(folder: Path, settings: Any) -> Iterator[subprocess.Popen[bytes]]:
    """A Valkey that the cache counts on, as `settings` says from now on."""
    server = EmbeddedValkey(folder, folder / "counters.sock", find_server())
    server.prepare()
    process = subprocess.Popen(server.spec.command, stdout=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 30
        while obstacle := server.obstacle():
            assert time.monotonic() < deadline, obstacle
            time.sleep(0.02)
        location = f"unix://{folder / 'counters.sock'}"
        settings.CACHES = {
            name: {**cache, "LOCATION": location} for name, cache in settings.CACHES.items()
        }
        yield process
    finally:
        process.terminate()
        process.wait()


def with_long_minute(make: Callable[[int], User]) -> User:
    """One of the users that `make` makes whose counting minute has half of it left at least.

    Each user's minute begins at a second of its own: a test that counts must not see two of them.
    """
    for number in range(100):
        user = make(number)
        if _end_of_minute(f"user:{user.pk}", 60) - time.time() > 30:
            return user
    raise AssertionError("a hundred people, and all their minutes are nearly over")
