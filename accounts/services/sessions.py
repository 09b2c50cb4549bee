"""Sessions begin and end here, each with its audit row in the same transaction."""

from __future__ import annotations

import time
from enum import StrEnum

from django.contrib import auth
from django.db import transaction
from django.db.models import F
from django.http import HttpRequest

from accounts.metrics import FAILED_SIGN_INS
from accounts.models import User
from accounts.services.authority import require_authority
from accounts.sessions import SIGNED_IN_AT
from monitoring import audit
from monitoring.audit_actions import AuditAction, Outcome

BACKEND = "accounts.backends.RoleBackend"


class SignInMethod(StrEnum):
    """What somebody has shown to sign in."""

    PASSWORD = "password"  # noqa: S105  a name, not a secret
    CODE = "password and code"
    RECOVERY_CODE = "password and recovery code"
    SINGLE_SIGN_ON = "single sign-on"


class SignInStep(StrEnum):
    """Where a failed sign-in failed."""

    PASSWORD = "password"  # noqa: S105
    CODE = "code"
    SINGLE_SIGN_ON = "single sign-on"


@transaction.atomic
def open_session(*, request: HttpRequest, user: User, method: SignInMethod) -> None:
    """Signs `user` in: the session gets a new key, so one planted beforehand is worth nothing."""
    auth.login(request, user, backend=BACKEND)
    request.session[SIGNED_IN_AT] = int(time.time())
    audit.record(
        actor=user, action=AuditAction.LOGGED_IN, target=user, data={"method": str(method)}
    )


@transaction.atomic
def close_session(*, request: HttpRequest) -> None:
    """Signs out; nothing happens for who is not signed in."""
    if request.user.is_authenticated:
        audit.record(actor=request.user, action=AuditAction.LOGGED_OUT, target=request.user)
    auth.logout(request)


@transaction.atomic
def end_sessions(*, actor: User | None, user: User) -> None:
    """Ends every session of `user` at once; API keys go on.

    Raises AppError PERMISSION_DENIED for somebody else who may more than `actor`.
    """
    if actor is not None and actor.pk != user.pk:
        require_authority(actor, user.role, "end this user's sessions")
    User.objects.filter(pk=user.pk).update(session_epoch=F("session_epoch") + 1)
    user.refresh_from_db(fields=["session_epoch"])
    audit.record(actor=actor, action=AuditAction.SESSIONS_ENDED, target=user)


def keep_session(*, request: HttpRequest, user: User) -> None:
    """Lets this session outlive what has just ended all sessions of `user`; its key changes."""
    auth.update_session_auth_hash(request, user)


def note_failed_sign_in(
    *, username: str, step: SignInStep, locked: bool = False, reason: str = ""
) -> None:
    """Writes a failed sign-in down. An unknown name is not kept: it may be a password gone astray.

    `locked` says that this failure has locked the name for its address.
    """
    FAILED_SIGN_INS.inc(method=step)
    user = User.objects.filter(username=username).first()
    data = {"step": str(step), "name_known": user is not None}
    if reason:
        data["reason"] = reason
    with transaction.atomic():
        audit.record(
            actor=None,
            action=AuditAction.LOGIN_FAILED,
            target=user,
            data=data,
            outcome=Outcome.REFUSED,
        )
        if locked:
            audit.record(
                actor=None, action=AuditAction.LOGIN_LOCKED, target=user, outcome=Outcome.REFUSED
            )
