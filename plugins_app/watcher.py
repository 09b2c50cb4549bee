"""Notices that the files of plugins have changed: one process looks, the others need not.

Who looks holds a lease in Redis; where Redis is away nobody looks, and `plugin scan` still does.
"""

from __future__ import annotations

import hashlib
import logging
import os
import secrets
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import redis
from django.conf import settings
from django.db import Error, connections

from llamagpu.lib.redis_client import SyncRedis
from plugins_app.discovery import roots
from plugins_app.services.scanning import scan_plugins

logger = logging.getLogger(__name__)

#: Seconds between two looks, however often somebody asks for one.
INTERVAL = 3.0
_LEASE_MS = 10_000
_LEASE = "lg:plugins:watcher"
_MAX_ENTRIES = 20_000
# Prolongs a lease only for its holder.
_RENEW = (
    "if redis.call('get', KEYS[1]) == ARGV[1] then return redis.call('pexpire', KEYS[1], ARGV[2]) end "
    "return 0"
)


class Watcher:
    """Compares names, times and sizes with those of the look before; files are read only on a change."""

    def __init__(self, client: SyncRedis) -> None:
        self._client = client
        self._me = secrets.token_hex(8)
        self._seen = ""
        self._looked_at = -INTERVAL
        self._lock = threading.Lock()

    def scan_if_changed(self) -> bool:
        """Scan where something has changed, and at this process's first look; whether it scanned.

        Cheap to call often. Raises django.db.Error and RedisError.
        """
        with self._lock:
            if time.monotonic() - self._looked_at < INTERVAL or not self._has_lease():
                return False
            self._looked_at = time.monotonic()
            seen = _glance()
            if seen == self._seen:
                return False
            scan_plugins()
            self._seen = seen
        return True

    def _has_lease(self) -> bool:
        if self._client.set(_LEASE, self._me, px=_LEASE_MS, nx=True):
            return True
        return bool(self._client.eval(_RENEW, 1, _LEASE, self._me, _LEASE_MS))


class PluginWatch:
    """A thread that looks every few seconds, for each worker: one of them holds the lease."""

    def __init__(self, client: SyncRedis) -> None:
        self._watcher = Watcher(client)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="plugin-watch", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def close(self, timeout: float) -> None:
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(timeout)

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                self._watcher.scan_if_changed()
            except redis.RedisError as error:
                logger.debug("nobody looks for changed plugins meanwhile: %s", error)
            except Error as error:
                logger.warning("changed plugins could not be taken up: %s", error)
            except Exception:  # the thread must live on: without it no change is noticed
                logger.exception("the folders of plugins could not be looked through")
            finally:
                connections.close_all()
            self._stop.wait(INTERVAL)


def _glance() -> str:
    """One digest over what a look at the folders shows. Entry points are part of a full scan alone."""
    digest = hashlib.sha256()
    config = settings.LLAMA
    number = 0
    for _, root, _ in roots(config.plugin_paths, config.plugins_dir):
        for line in _lines_of(root):
            digest.update(line)
            number += 1
            if number > _MAX_ENTRIES:
                return digest.hexdigest()
    return digest.hexdigest()


def _lines_of(folder: Path) -> Iterator[bytes]:
    try:
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    except OSError:
        return
    for entry in entries:
        if entry.name == "__pycache__":
            continue
        try:
            found = entry.stat()
        except OSError:
            yield os.fsencode(entry.path)
            continue
        # The time that nobody can set back.
        facts = (found.st_ctime_ns, found.st_size, found.st_ino, found.st_mode)
        yield b"%b %b\n" % (os.fsencode(entry.path), repr(facts).encode())
        if entry.is_dir(follow_symlinks=False):
            yield from _lines_of(Path(entry.path))
