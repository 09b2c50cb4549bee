"""Calls that come over a socket, as REST framework authentication."""

from __future__ import annotations

from rest_framework.authentication import BaseAuthentication
from rest_framework.request import Request

from accounts.models import ApiKey, User


class SocketAuthentication(BaseAuthentication):
    """The caller of the socket, whom the socket itself has just looked up again.

    Only for views that no address leads to.
    """

    def authenticate(self, request: Request) -> tuple[User, ApiKey | None] | None:
        caller = getattr(request._request, "socket_caller", None)
        return None if caller is None else (caller.user, caller.key)
