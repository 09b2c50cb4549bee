"""Servers that count, for tests which stop them; people whose minute has just begun."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from django.test import RequestFactory

from accounts.limits import count_request
from accounts.models import User
from llamagpu.http.permissions import LimitGroup
from llamagpu.supervisor.valkey import EmbeddedValkey, find_server


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
        cache = settings.CACHES["default"]
        settings.CACHES = {"default": {**cache, "LOCATION": f"unix://{folder / 'counters.sock'}"}}
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
        (rate,) = count_request(
            RequestFactory().get("/"), LimitGroup.SYSTEM, user, None, increment=False
        )
        if rate.time_left > 30:
            return user
    raise AssertionError("a hundred people, and all their minutes are nearly over")
