"""Rights at use time: tells whoever keeps something open when the right to it is gone.

Streams, waiting calls and sockets register what their caller needs. One task per event loop asks the
database about all of them together every `INTERVAL` seconds; it runs only while somebody is
registered. With that and a prompt reaction a lost right is gone within five seconds.
"""

from __future__ import annotations

import asyncio
import contextvars
import logging
import weakref
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from asgiref.sync import sync_to_async
from django.db import Error as DatabaseError

from accounts.models import ApiKey, User
from accounts.sessions import SessionMark, living_sessions
from llamagpu.http.database import release_connections
from llamagpu.http.permissions import Rule, allows
from llamagpu.lib.error_codes import ErrorCode

logger = logging.getLogger(__name__)

#: Seconds between two looks at the database. A waiting reader then reacts within two more.
INTERVAL = 1.5

_KEY_ENDED = "The API key was revoked or has expired."
_USER_ENDED = "The account was deactivated."
_SESSION_ENDED = "The session was ended."
_RIGHT_LOST = "Your role or your key does not allow this any more."


@dataclass(frozen=True, slots=True)
class Holder:
    """Who keeps something open, and what it takes.

    `key_id` is None for a session, which `session_epoch` then names. `peer` and `model` are checked
    against the lists of the key; empty where they do not matter. What outlives requests names the
    session itself too, so that it ends when that is signed out or runs out.
    """

    user_id: int
    rule: Rule
    key_id: int | None = None
    session_epoch: int = 0
    peer: str = ""
    model: str = ""
    session: SessionMark | None = None


@dataclass(frozen=True, slots=True)
class RightLost:
    """Why something must end: AUTHENTICATION_FAILED or PERMISSION_DENIED, and a sentence for the caller."""

    code: ErrorCode
    message: str


class Watch:
    """One registration. `lost` is None for as long as the right holds."""

    def __init__(self, holder: Holder, on_lost: Callable[[RightLost], None] | None) -> None:
        self.holder = holder
        self.lost: RightLost | None = None
        self._on_lost = on_lost

    def lose(self, reason: RightLost) -> None:
        """Called once, on the event loop."""
        self.lost = reason
        if self._on_lost is None:
            return
        try:
            self._on_lost(reason)
        except Exception:
            logger.exception("a caller could not be told that its right is gone")


def holder_of(user: Any, key: Any, rule: Rule, *, peer: str = "", model: str = "") -> Holder:
    """The caller of a request: `key` is None for a session."""
    key_id = key.pk if key is not None else None
    return Holder(user.pk, rule, key_id, user.session_epoch, peer, model)


@contextmanager
def watch_rights(
    holder: Holder, on_lost: Callable[[RightLost], None] | None = None
) -> Iterator[Watch]:
    """Watches the rights of `holder` inside the block. To be entered on an event loop.

    `on_lost` is called there at most once and must not block; a caller that comes by often enough
    can look at `lost` instead.
    """
    watch = Watch(holder, on_lost)
    watcher = _watcher_of_this_loop()
    watcher.add(watch)
    try:
        yield watch
    finally:
        watcher.remove(watch)


def find_losses(holders: Iterable[Holder]) -> dict[Holder, RightLost]:
    """Those of `holders` that may not go on, by what the database says now.

    Three queries, and one more where some name their session.
    """
    wanted = set(holders)
    sessions = living_sessions(h.session for h in wanted if h.session is not None)
    keys = ApiKey.objects.in_bulk({h.key_id for h in wanted if h.key_id is not None})
    users = {
        user.pk: user
        for user in User.objects.filter(pk__in={h.user_id for h in wanted})
        .select_related("role")
        .prefetch_related("role__permissions")
    }
    found = {
        h: RightLost(ErrorCode.AUTHENTICATION_FAILED, _SESSION_ENDED)
        if h.session is not None and h.session not in sessions
        else _loss_of(h, users.get(h.user_id), keys)
        for h in wanted
    }
    return {holder: loss for holder, loss in found.items() if loss is not None}


def _loss_of(holder: Holder, user: User | None, keys: dict[int, ApiKey]) -> RightLost | None:
    if user is None or not user.is_active:
        return RightLost(ErrorCode.AUTHENTICATION_FAILED, _USER_ENDED)
    key = None
    if holder.key_id is not None:
        key = keys.get(holder.key_id)
        if key is None or not key.is_usable:
            return RightLost(ErrorCode.AUTHENTICATION_FAILED, _KEY_ENDED)
        if holder.peer and not key.allows_address(holder.peer):
            return RightLost(ErrorCode.PERMISSION_DENIED, _RIGHT_LOST)
        if holder.model and not key.allows_model(holder.model):
            return RightLost(ErrorCode.PERMISSION_DENIED, _RIGHT_LOST)
    elif user.session_epoch != holder.session_epoch:
        return RightLost(ErrorCode.AUTHENTICATION_FAILED, _SESSION_ENDED)
    if not allows(holder.rule, user, key):
        return RightLost(ErrorCode.PERMISSION_DENIED, _RIGHT_LOST)
    return None


class _Watcher:
    """All registrations of one event loop, and the task that asks about them."""

    def __init__(self) -> None:
        self._watches: set[Watch] = set()
        self._task: asyncio.Task[None] | None = None

    def add(self, watch: Watch) -> None:
        self._watches.add(watch)
        if self._task is None or self._task.done():
            # A context of its own: its log lines belong to no request.
            self._task = asyncio.get_running_loop().create_task(
                self._run(), context=contextvars.Context()
            )

    def remove(self, watch: Watch) -> None:
        self._watches.discard(watch)
        if not self._watches and self._task is not None:
            self._task.cancel()
            self._task = None

    async def _run(self) -> None:
        find = sync_to_async(_find_losses_and_release, thread_sensitive=False)
        while True:
            await asyncio.sleep(INTERVAL)
            asked = list(self._watches)
            try:
                losses = await find([watch.holder for watch in asked])
            except DatabaseError as error:
                # What runs goes on while the database is away; nothing new comes in meanwhile.
                logger.warning("rights in use were not checked: %s", error)
                continue
            for watch in asked:
                loss = losses.get(watch.holder)
                if loss is not None and watch in self._watches:
                    self._watches.discard(watch)
                    watch.lose(loss)


def _find_losses_and_release(holders: list[Holder]) -> dict[Holder, RightLost]:
    try:
        return find_losses(holders)
    finally:
        release_connections()


_watchers: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, _Watcher] = (
    weakref.WeakKeyDictionary()
)


def _watcher_of_this_loop() -> _Watcher:
    loop = asyncio.get_running_loop()
    if loop not in _watchers:
        _watchers[loop] = _Watcher()
    return _watchers[loop]
