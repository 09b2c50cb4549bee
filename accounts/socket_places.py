"""How many sockets may be open at once in this process: of everybody, of one user, of one key."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from accounts.metrics import LIVE_SOCKETS
from llamagpu.http.errors import AppError
from llamagpu.lib.error_codes import ErrorCode
from monitoring.configuration import current

#: Seconds after which somebody who was turned away for want of room may try again.
_RETRY_AFTER = 10

_of_users: Counter[int] = Counter()
_of_keys: Counter[int] = Counter()


def num_sockets() -> int:
    return _of_users.total()


def check_room() -> None:
    """Raises AppError BACKEND_UNAVAILABLE where this process has as many sockets as it may."""
    if num_sockets() >= current().max_sockets:
        message = "This server has as many live sockets as it may (LLAMA_MAX_SOCKETS)."
        raise AppError(ErrorCode.BACKEND_UNAVAILABLE, message, retry_after=_RETRY_AFTER)


@contextmanager
def take_place(user_id: int, key_id: int | None) -> Iterator[None]:
    """One more socket, for as long as the block lasts. To be entered on the event loop.

    Raises AppError BACKEND_UNAVAILABLE and RATE_LIMIT_EXCEEDED.
    """
    check_room()
    config = current()
    if _of_users[user_id] >= config.max_user_sockets:
        raise _too_many("You have", config.max_user_sockets, "LLAMA_MAX_USER_SOCKETS")
    if key_id is not None and _of_keys[key_id] >= config.max_key_sockets:
        raise _too_many("This key has", config.max_key_sockets, "LLAMA_MAX_KEY_SOCKETS")
    _of_users[user_id] += 1
    if key_id is not None:
        _of_keys[key_id] += 1
    LIVE_SOCKETS.inc()
    try:
        yield
    finally:
        LIVE_SOCKETS.dec()
        _leave(_of_users, user_id)
        if key_id is not None:
            _leave(_of_keys, key_id)


def _leave(counter: Counter[int], number: int) -> None:
    counter[number] -= 1
    if not counter[number]:
        del counter[number]


def _too_many(who: str, most: int, setting: str) -> AppError:
    message = f"{who} {most} live sockets open already, which is the limit ({setting})."
    return AppError(ErrorCode.RATE_LIMIT_EXCEEDED, message, retry_after=_RETRY_AFTER)
