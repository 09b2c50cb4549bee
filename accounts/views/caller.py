"""Who looks at a page."""

from __future__ import annotations

from django.http import HttpRequest

from accounts.models import User


def caller(request: HttpRequest) -> User:
    """The signed-in user as the database has it now."""
    return User.objects.select_related("role").get(
        pk=request.user.pk,  # type: ignore[misc]
    )
