"""The two steps of a sign-in by password: every guess is counted, refused ones are written down."""

from __future__ import annotations

from django.conf import settings
from django.contrib import auth
from django.contrib.auth.signals import user_login_failed
from django.http import HttpRequest

from accounts import login_guard, sign_in_gate
from accounts.models import User
from accounts.services import second_factor
from accounts.services.sessions import SignInMethod, SignInStep, note_failed_sign_in
from llamagpu.http.errors import AppError
from llamagpu.http.permissions import Action, Resource
from llamagpu.lib.error_codes import ErrorCode


def check_password(*, request: HttpRequest, username: str, password: str) -> User | None:
    """The user whose name and password these are, or None.

    Raises AppError RATE_LIMIT_EXCEEDED for too many tries and while the name is locked for this
    address, BACKEND_UNAVAILABLE while tries cannot be counted.
    """
    _admit(request, username)
    user = auth.authenticate(request, username=username, password=password)
    if isinstance(user, User) and _may_use_password(user):
        return user
    if user is not None:
        _count_failure(request, username)
    _note_failure(request, username, SignInStep.PASSWORD)
    return None


def check_code(*, request: HttpRequest, user: User, code: str) -> SignInMethod | None:
    """What `code` is if it is right, used up thereby; None for a wrong one.

    Raises AppError as `check_password` does, and RATE_LIMIT_EXCEEDED while a wrong code slows the
    next one down.
    """
    username = user.get_username()
    _admit(request, username)
    if wait := second_factor.seconds_to_wait(user):
        raise AppError(
            ErrorCode.RATE_LIMIT_EXCEEDED,
            f"After a wrong code the next one has to wait: try again in {wait} seconds.",
            retry_after=wait,
        )
    method = second_factor.spend_code(user=user, code=code)
    if method is None:
        _count_failure(request, username)
        _note_failure(request, username, SignInStep.CODE)
    return method


def _admit(request: HttpRequest, username: str) -> None:
    sign_in_gate.admit(request, username)
    if login_guard.is_locked(request, username):
        raise _locked(request, username)


def _may_use_password(user: User) -> bool:
    """With single sign-on alone, passwords are for emergencies: for who repairs the installation."""
    oidc = settings.SIGN_IN.oidc
    if oidc is None or not oidc.only:
        return True
    return user.can(Resource.SYSTEM_CONFIG, Action.WRITE)


def _count_failure(request: HttpRequest, username: str) -> None:
    """A failure that django-axes has not seen."""
    user_login_failed.send(sender=__name__, credentials={"username": username}, request=request)


def _note_failure(request: HttpRequest, username: str, step: SignInStep) -> None:
    locked = login_guard.is_locked(request, username)
    note_failed_sign_in(username=username, step=step, locked=locked)
    if locked:
        raise _locked(request, username)


def _locked(request: HttpRequest, username: str) -> AppError:
    seconds = login_guard.seconds_locked(request, username)
    minutes = -(-seconds // 60)
    return AppError(
        ErrorCode.RATE_LIMIT_EXCEEDED,
        "Too many failed attempts: this name is locked for your address. "
        f"Try again in {minutes} minute{'s' if minutes > 1 else ''}, or ask an Admin to unlock it.",
        retry_after=seconds,
    )
