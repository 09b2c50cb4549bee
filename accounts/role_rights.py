"""Roles with their cells, remembered for a moment, so that a call with a key asks for them seldom.

Each process remembers for itself. A change made in this process counts at once, one made in another
after `LIFETIME` seconds at the latest.
"""

from __future__ import annotations

import time
from typing import Any

from django.db.models.signals import post_delete, post_save

from accounts.models import Role, RolePermission

#: Seconds for which a role is believed to be as it was. With the two seconds of the watch over open
#: streams it keeps the promise that lost rights are gone within five.
LIFETIME = 2.0

_remembered: dict[int, tuple[float, Role]] = {}


def role_with_rights(role_id: int) -> Role:
    """The role and its cells, at most `LIFETIME` seconds old. Shared between threads: never change it.

    Raises Role.DoesNotExist.
    """
    now = time.monotonic()
    known = _remembered.get(role_id)
    if known is not None and now - known[0] < LIFETIME:
        return known[1]
    role = Role.objects.prefetch_related("permissions").get(pk=role_id)
    _remembered[role_id] = (now, role)
    return role


def forget_roles(**_: Any) -> None:
    """Ask again at the next call. Also a signal's receiver."""
    _remembered.clear()


def forget_on_change() -> None:
    """Lets every saved or deleted role and cell clear the memory of this process."""
    for signal in (post_save, post_delete):
        for model in (Role, RolePermission):
            signal.connect(forget_roles, sender=model, dispatch_uid=f"role_rights.{model.__name__}")
