"""The user that a command is about."""

from __future__ import annotations

from django.core.management.base import CommandError

from accounts.models import User


def named_user(username: str) -> User:
    """Raises CommandError where there is none."""
    user = User.objects.filter(username=username).select_related("role").first()
    if user is None:
        raise CommandError(f"there is no user '{username}'")
    return user
