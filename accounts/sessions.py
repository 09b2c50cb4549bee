"""Sessions in the database that end: after a while without use, and at last whatever their use.

Both limits are settings (LLAMA_SESSION_IDLE, LLAMA_SESSION_AGE). A session that is used gets its
full idle time back, at most one write a minute.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.conf import settings
from django.contrib.sessions.backends.db import SessionStore as DatabaseStore
from django.contrib.sessions.models import Session
from django.utils import timezone

#: When its owner signed in, as seconds since the epoch.
SIGNED_IN_AT = "signed_in_at"
_STEP = timedelta(minutes=1)


class SessionStore(DatabaseStore):
    """Stands in SESSION_ENGINE. SESSION_COOKIE_AGE is the idle limit."""

    def load(self) -> dict[str, Any]:
        return self._use(self._get_session_from_db())  # type: ignore[attr-defined]

    async def aload(self) -> dict[str, Any]:
        return self._use(await self._aget_session_from_db())  # type: ignore[attr-defined]

    def _use(self, row: Any) -> dict[str, Any]:
        if row is None:
            return {}
        data: dict[str, Any] = self.decode(row.session_data)
        if _is_over(data):
            self._session_key = None
            return {}
        if SIGNED_IN_AT in data and _is_stale(row.expire_date):
            self.modified = True  # the middleware saves it with a new end
        return data


@dataclass(frozen=True, slots=True)
class SessionMark:
    """One session as what outlives a request knows it; `ends_at` is seconds since the epoch."""

    key: str
    ends_at: float


def mark_of(session: SessionStore) -> SessionMark:
    """The mark of a session that somebody has signed in to."""
    signed_in_at = session.get(SIGNED_IN_AT, time.time())
    return SessionMark(str(session.session_key), signed_in_at + settings.SIGN_IN.session_age)


def living_sessions(marks: Iterable[SessionMark]) -> set[SessionMark]:
    """Those that were neither ended nor ran out: one query, none for none."""
    wanted = {mark.key: mark for mark in marks if time.time() < mark.ends_at}
    if not wanted:
        return set()
    living = Session.objects.filter(session_key__in=wanted, expire_date__gt=timezone.now())
    return {wanted[key] for key in living.values_list("session_key", flat=True)}


def _is_over(data: dict[str, Any]) -> bool:
    signed_in_at = data.get(SIGNED_IN_AT)
    return signed_in_at is not None and time.time() - signed_in_at >= settings.SIGN_IN.session_age


def _is_stale(expire_date: datetime) -> bool:
    idle = timedelta(seconds=settings.SIGN_IN.session_idle)
    return expire_date - timezone.now() < idle - _STEP
