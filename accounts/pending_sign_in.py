"""Between the password and the code: who has shown the password is noted in the session, not signed in."""

from __future__ import annotations

import time

from django.http import HttpRequest
from django.utils.crypto import constant_time_compare

from accounts.models import User

_KEY = "pending_sign_in"
#: Seconds to find the phone in.
LIFETIME = 600


def begin(request: HttpRequest, user: User, next_url: str) -> None:
    """Notes that `user` has shown the password, and where to go afterwards."""
    request.session.cycle_key()
    request.session[_KEY] = {
        "user": user.pk,
        # A password changed meanwhile ends this too.
        "hash": user.get_session_auth_hash(),
        "at": int(time.time()),
        "next": next_url,
    }


def user_of(request: HttpRequest) -> User | None:
    """Whose code is waited for, or None: nobody's, or too long ago."""
    noted = request.session.get(_KEY)
    if not noted or time.time() - noted["at"] > LIFETIME:
        return None
    user = User.objects.filter(pk=noted["user"], is_active=True).select_related("role").first()
    if user is None or not constant_time_compare(noted["hash"], user.get_session_auth_hash()):
        return None
    return user


def next_url_of(request: HttpRequest) -> str:
    noted = request.session.get(_KEY) or {}
    return str(noted.get("next", ""))


def clear(request: HttpRequest) -> None:
    """Forget it."""
    request.session.pop(_KEY, None)
