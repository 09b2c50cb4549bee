"""Who calls a view that lets nobody in without an account."""

from __future__ import annotations

from typing import cast

from rest_framework.request import Request

from accounts.models import User


def caller_of(request: Request) -> User:
    """The caller. For views whose declared rule has kept strangers out already."""
    return cast(User, request.user)
