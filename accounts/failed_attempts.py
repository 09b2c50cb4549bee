"""Counts refused keys per peer address, so that nobody can try them without end.

Redis counts for all web processes together. While it is away nothing is counted and keys still work:
a key has 220 random bits, so the count guards the machine's work rather than the keys.
"""

from __future__ import annotations

import logging
import time

import redis
from django.conf import settings

from accounts.metrics import FAILED_SIGN_INS
from llamagpu.http.origin import subscriber_of
from llamagpu.lib.redis_client import sync_client

logger = logging.getLogger(__name__)

#: Refused keys that one address may send in `WINDOW` seconds, which begin with the first of them.
MAX_FAILURES = 20
WINDOW = 60
# After Redis has failed it is not asked for as long: a server that hangs must not slow every call.
_PAUSE = 5.0

#: Seconds for which a process relies on what it was told of an address that may go on.
_TRUSTED_FOR = 1.0
_MOST_REMEMBERED = 10_000

_paused_until = 0.0
_trusted_until: dict[str, float] = {}


def wait_before_next(peer: str) -> int:
    """Seconds until keys from `peer` are looked at again; 0 where they are now.

    `peer` is an IP address; an empty one (a unix socket) is not counted, since all would share it.
    """
    global _paused_until
    now = time.monotonic()
    if not peer or now < _paused_until or now < _trusted_until.get(peer, 0.0):
        return 0
    name = _counter(peer)
    client = sync_client(settings.REDIS_URL)
    try:
        count = client.get(name)
        if count is None or int(count) < MAX_FAILURES:
            _trust(peer, now)
            return 0
        return max(1, int(client.ttl(name)))
    except redis.RedisError as error:
        _paused_until = time.monotonic() + _PAUSE
        logger.warning("refused keys are not counted, Redis does not answer: %s", error)
        return 0


def note_failure(peer: str) -> None:
    """Count one refused key."""
    global _paused_until
    FAILED_SIGN_INS.inc(method="key")
    if not peer or time.monotonic() < _paused_until:
        return
    _trusted_until.pop(peer, None)
    name = _counter(peer)
    try:
        pipeline = sync_client(settings.REDIS_URL).pipeline(transaction=True)
        pipeline.incr(name)
        pipeline.expire(name, WINDOW, nx=True)
        count, _ = pipeline.execute()
    except redis.RedisError as error:
        _paused_until = time.monotonic() + _PAUSE
        logger.warning("a refused key was not counted, Redis does not answer: %s", error)
        return
    if count == MAX_FAILURES:
        logger.warning("%s sent %d refused keys: no more are looked at for now", peer, count)


def failures_left(peer: str) -> tuple[int, int] | None:
    """Refused keys that `peer` may still send and the seconds until all of them; None: not counted."""
    if not peer or time.monotonic() < _paused_until:
        return None
    name = _counter(peer)
    try:
        pipeline = sync_client(settings.REDIS_URL).pipeline(transaction=False)
        pipeline.get(name)
        pipeline.ttl(name)
        count, seconds = pipeline.execute()
    except redis.RedisError:
        return None
    return max(0, MAX_FAILURES - int(count or 0)), max(0, seconds)


def _trust(peer: str, now: float) -> None:
    if len(_trusted_until) >= _MOST_REMEMBERED:
        _trusted_until.clear()
    _trusted_until[peer] = now + _TRUSTED_FOR


def _counter(peer: str) -> str:
    return f"lg:refused_keys:{subscriber_of(peer)}"
