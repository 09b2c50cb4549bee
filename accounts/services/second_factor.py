"""The second factor: codes of an authenticator app, and recovery codes for when it is lost."""

from __future__ import annotations

import base64
import hashlib
import re
import secrets

import django_otp
from django.conf import settings
from django.db import transaction
from django.db.models import F
from django.utils import timezone
from django_otp.plugins.otp_totp.models import TOTPDevice

from accounts.models import RecoveryCode, User
from accounts.services.authority import require_authority
from accounts.services.sessions import SignInMethod
from llamagpu.http.errors import AppError
from llamagpu.lib.error_codes import ErrorCode
from llamagpu.lib.sign_in_config import TotpPolicy
from monitoring import audit
from monitoring.audit_actions import AuditAction

NUM_RECOVERY_CODES = 10
_CODE_BYTES = 10  # 80 bits: nobody guesses one, so a fast digest does
_APP_CODE = re.compile(r"[0-9]{6}")


def is_offered() -> bool:
    """Whether this installation knows a second factor at all."""
    return settings.SIGN_IN.totp is not TotpPolicy.OFF


def is_required_of(user: User) -> bool:
    """Whether `user` has to have one. People of single sign-on show theirs to the provider."""
    policy = settings.SIGN_IN.totp
    return policy is TotpPolicy.REQUIRED or (policy is TotpPolicy.ADMINS and user.is_staff)


def has_second_factor(user: User) -> bool:
    return TOTPDevice.objects.filter(user=user, confirmed=True).exists()


def is_asked_of(user: User) -> bool:
    """Whether a password alone does not sign `user` in."""
    return is_offered() and (is_required_of(user) or has_second_factor(user))


def num_recovery_codes(user: User) -> int:
    """How many are left."""
    return RecoveryCode.objects.filter(user=user, used_at=None).count()


@transaction.atomic
def enrolment_of(*, user: User) -> TOTPDevice:
    """The secret that `user` is about to take into an app: the same one until it is confirmed.

    Raises AppError CONFLICT where a second factor is in force.
    """
    _lock(user)
    if has_second_factor(user):
        raise AppError(ErrorCode.CONFLICT, "The second factor is on already.")
    device = TOTPDevice.objects.filter(user=user, confirmed=False).first()
    return device or TOTPDevice.objects.create(user=user, name="app", confirmed=False)


def secret_text(device: TOTPDevice) -> str:
    """The secret in the form that people can type into an app."""
    text = base64.b32encode(device.bin_key).decode().rstrip("=")
    return " ".join(re.findall(".{1,4}", text))


@transaction.atomic
def confirm_enrolment(*, user: User, code: str) -> list[str] | None:
    """Turns the second factor on and all sessions out; None for a wrong code.

    The answer is the recovery codes, which exist nowhere else. Raises AppError CONFLICT.
    """
    device = enrolment_of(user=user)
    if not _APP_CODE.fullmatch(_compact(code)) or not device.verify_token(_compact(code)):
        return None
    device.confirmed = True
    device.save(update_fields=["confirmed"])
    codes = _replace_recovery_codes(user)
    _end_sessions(user)
    audit.record(actor=user, action=AuditAction.SECOND_FACTOR_ENABLED, target=user)
    return codes


def spend_code(*, user: User, code: str) -> SignInMethod | None:
    """What `code` is if it is right, used up thereby; else None. Wrong ones slow the next down."""
    compact = _compact(code)
    if _APP_CODE.fullmatch(compact):
        device = TOTPDevice.objects.filter(user=user, confirmed=True).first()
        if device and django_otp.verify_token(user, device.persistent_id, compact):
            return SignInMethod.CODE
        return None
    spent = RecoveryCode.objects.filter(user=user, digest=_digest(compact), used_at=None).update(
        used_at=timezone.now()
    )
    return SignInMethod.RECOVERY_CODE if spent else None


def seconds_to_wait(user: User) -> int:
    """Seconds until the next app code is looked at at all, 0 for now."""
    device = TOTPDevice.objects.filter(user=user, confirmed=True).first()
    allowed, why = device.verify_is_allowed() if device else (True, None)
    if allowed or not why:
        return 0
    wait = (why["locked_until"] - timezone.now()).total_seconds()
    return max(0, int(wait) + 1)


def new_recovery_codes(*, user: User, code: str) -> list[str] | None:
    """Fresh recovery codes in place of the old ones; None for a wrong code."""
    if spend_code(user=user, code=code) is None:
        return None
    with transaction.atomic():
        codes = _replace_recovery_codes(user)
        audit.record(actor=user, action=AuditAction.RECOVERY_CODES_MADE, target=user)
    return codes


def disable(*, user: User, password: str, code: str) -> None:
    """Turns it off for who shows both. Raises AppError INVALID_INPUT or CONFLICT."""
    if is_required_of(user):
        raise AppError(ErrorCode.CONFLICT, "Your role needs the second factor: it stays on.")
    if not user.check_password(password) or spend_code(user=user, code=code) is None:
        raise AppError(ErrorCode.INVALID_INPUT, "The password or the code is wrong.")
    _remove(actor=user, user=user, deed="disabled")


def reset_second_factor(*, actor: User | None, user: User) -> bool:
    """Removes the second factor of somebody who lost it, and ends their sessions.

    Says whether there was one. Raises AppError PERMISSION_DENIED.
    """
    if actor is not None and actor.pk != user.pk:
        require_authority(actor, user.role, "reset this user's second factor")
    return _remove(actor=actor, user=user, deed="reset")


@transaction.atomic
def _remove(*, actor: User | None, user: User, deed: str) -> bool:
    _lock(user)
    had_one = has_second_factor(user)
    TOTPDevice.objects.filter(user=user).delete()
    RecoveryCode.objects.filter(user=user).delete()
    if had_one:
        _end_sessions(user)
        audit.record(
            actor=actor,
            action=AuditAction.SECOND_FACTOR_DISABLED,
            target=user,
            data={"deed": deed},
        )
    return had_one


def _replace_recovery_codes(user: User) -> list[str]:
    RecoveryCode.objects.filter(user=user).delete()
    texts = [
        base64.b32encode(secrets.token_bytes(_CODE_BYTES)).decode().lower()
        for _ in range(NUM_RECOVERY_CODES)
    ]
    RecoveryCode.objects.bulk_create(
        RecoveryCode(user=user, digest=_digest(text)) for text in texts
    )
    return ["-".join(re.findall(".{4}", text)) for text in texts]


def _lock(user: User) -> None:
    """Who changes the same user's second factor takes turns."""
    User.objects.select_for_update(of=("self",)).get(pk=user.pk)


def _end_sessions(user: User) -> None:
    User.objects.filter(pk=user.pk).update(session_epoch=F("session_epoch") + 1)
    user.refresh_from_db(fields=["session_epoch"])


def _compact(code: str) -> str:
    return re.sub(r"[\s-]", "", code).lower()


def _digest(compact: str) -> str:
    return hashlib.sha256(compact.encode()).hexdigest()
