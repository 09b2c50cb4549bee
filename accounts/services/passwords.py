"""Lost passwords: one-time links, by mail or handed out by an administrator."""

from __future__ import annotations

from django.conf import settings
from django.contrib.auth.forms import PasswordResetForm
from django.contrib.auth.tokens import default_token_generator
from django.core.mail import send_mail
from django.db import transaction
from django.template.loader import render_to_string
from django.urls import reverse
from django.utils.encoding import force_bytes
from django.utils.http import urlsafe_base64_encode

from accounts.models import User
from accounts.services.authority import require_authority
from accounts.services.users import set_password
from monitoring import audit
from monitoring.audit_actions import AuditAction


def is_mail_configured() -> bool:
    return settings.SIGN_IN.mail is not None


@transaction.atomic
def make_reset_link(*, actor: User | None, user: User, base_url: str) -> str:
    """An address under which `user` sets a new password: once, within an hour.

    Raises AppError PERMISSION_DENIED for a user who may more than `actor`.
    """
    require_authority(actor, user.role, "make a link that sets this user's password")
    audit.record(actor=actor, action=AuditAction.RESET_LINK_MADE, target=user)
    return reset_link(user, base_url)


def send_reset_mails(*, email: str, base_url: str) -> None:
    """A mail to everybody with that address who signs in by password; none if there is nobody."""
    for user in PasswordResetForm().get_users(email):
        context = {
            "user": user,
            "link": reset_link(user, base_url),
            "minutes": settings.PASSWORD_RESET_TIMEOUT // 60,
        }
        send_mail(
            subject="A new password for LLaMA GPU",
            message=render_to_string("accounts/mail/password_reset.txt", context),
            from_email=None,
            # The address of the account, not the one that was typed: they may differ in one letter.
            recipient_list=[user.email],
        )


def reset_password(*, user: User, password: str) -> User:
    """For who came by a link. Raises AppError INVALID_INPUT for a weak password."""
    return set_password(actor=user, user=user, password=password)


def reset_link(user: User, base_url: str) -> str:
    """The link itself. It dies with its use, with another password, with a sign-in, and in time."""
    token = default_token_generator.make_token(user)
    uid = urlsafe_base64_encode(force_bytes(user.pk))
    path = reverse("password-reset-confirm", kwargs={"uidb64": uid, "token": token})
    return f"{base_url}{path}"
