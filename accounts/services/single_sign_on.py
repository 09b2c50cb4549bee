"""Accounts of people who sign in through an OpenID Connect provider."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from django.core.exceptions import ValidationError
from django.core.validators import validate_email
from django.db import transaction
from django.utils import timezone

from accounts.models import Role, SsoIdentity, User
from accounts.services.users import change_user, create_user, lock_admin_role
from llamagpu.http.errors import AppError
from llamagpu.lib.error_codes import ErrorCode
from llamagpu.lib.sign_in_config import OidcConfig
from monitoring import audit
from monitoring.audit_actions import AuditAction

_MAX_SUBJECT = 255
_MAX_NAME = 150
_MAX_EMAIL = 254
_NO_ROLE = "none"


@transaction.atomic
def user_of_claims(*, config: OidcConfig, claims: Mapping[str, Any]) -> User:
    """The account of who has these verified claims, made at the first time, its role brought up to date.

    Raises AppError PERMISSION_DENIED for who gets no role, is deactivated, or would leave the
    installation without an Admin.
    """
    lock_admin_role()  # two first sign-ins of one person take turns
    role = _role_for(config, claims)
    issuer, subject = str(claims["iss"]), str(claims["sub"])
    if len(subject) > _MAX_SUBJECT or "\0" in subject:
        raise AppError(ErrorCode.PERMISSION_DENIED, "The provider's name for you is not usable.")
    identity = (
        SsoIdentity.objects.select_related("user__role")
        .filter(issuer=issuer, subject=subject)
        .first()
    )
    if identity is None:
        identity = _new_identity(issuer, subject, claims, role)
    elif not identity.user.is_active:
        raise AppError(ErrorCode.PERMISSION_DENIED, "Your account is deactivated.")
    else:
        identity.user = _brought_up_to_date(identity.user, claims, role)
    identity.last_used_at = timezone.now()
    identity.save(update_fields=["last_used_at"])
    return identity.user


def roles_of_claims(config: OidcConfig, claims: Mapping[str, Any]) -> Iterator[str]:
    """Slugs that the role claim maps to, in the order of the map; the default role last."""
    value: Any = claims
    for part in (
        [config.role_claim] if config.role_claim in claims else config.role_claim.split(".")
    ):
        value = value.get(part) if isinstance(value, Mapping) else None
    groups = {value} if isinstance(value, str) else set()
    if isinstance(value, list):
        groups = {item for item in value if isinstance(item, str)}
    yield from (role for group, role in config.role_map if group in groups)
    if config.default_role != _NO_ROLE:
        yield config.default_role


def _role_for(config: OidcConfig, claims: Mapping[str, Any]) -> str:
    slug = next(roles_of_claims(config, claims), None)
    if slug is None or not Role.objects.filter(slug=slug).exists():
        raise AppError(
            ErrorCode.PERMISSION_DENIED,
            "You are known to the provider, but it gives you no role here: ask an Admin.",
        )
    return slug


def _new_identity(issuer: str, subject: str, claims: Mapping[str, Any], role: str) -> SsoIdentity:
    """Never an account that is there already: whoever names an account at the provider is not its owner."""
    person = _person(claims)
    user = create_user(
        actor=None,
        username=_free_name(claims),
        password=None,
        role=role,
        email=person.get("email", ""),
        first_name=person.get("first_name", ""),
        last_name=person.get("last_name", ""),
    )
    identity = SsoIdentity.objects.create(user=user, issuer=issuer, subject=subject)
    audit.record(
        actor=None, action=AuditAction.IDENTITY_LINKED, target=user, data={"issuer": issuer}
    )
    return identity


def _brought_up_to_date(user: User, claims: Mapping[str, Any], role: str) -> User:
    person = _person(claims)
    try:
        return change_user(
            actor=None,
            user=user,
            role=role,
            email=person.get("email"),
            first_name=person.get("first_name"),
            last_name=person.get("last_name"),
        )
    except AppError as error:
        if error.code is not ErrorCode.CONFLICT:
            raise
        raise AppError(
            ErrorCode.PERMISSION_DENIED,
            "The provider gives you a lower role, but you are the last active Admin here.",
        ) from error


def _person(claims: Mapping[str, Any]) -> dict[str, str]:
    """Names and a verified e-mail address, as far as the provider tells them and they are usable."""
    texts = {"first_name": claims.get("given_name"), "last_name": claims.get("family_name")}
    person = {
        name: value.replace("\0", "")[:_MAX_NAME]
        for name, value in texts.items()
        if isinstance(value, str)
    }
    email = claims.get("email")
    if isinstance(email, str) and claims.get("email_verified") is not False and _is_email(email):
        person["email"] = email
    return person


def _is_email(text: str) -> bool:
    try:
        validate_email(text)
    except ValidationError:
        return False
    return len(text) <= _MAX_EMAIL


def _free_name(claims: Mapping[str, Any]) -> str:
    wanted = next(
        (
            claims[name]
            for name in ("preferred_username", "email", "sub")
            if isinstance(claims.get(name), str) and claims[name].strip()
        ),
        "user",
    )
    name = re.sub(r"[^\w.@+-]", "-", User.normalize_username(wanted.strip()))[: _MAX_NAME - 8]
    candidate, number = name, 2
    while User.objects.filter(username__iexact=candidate).exists():
        candidate, number = f"{name}-{number}", number + 1
    return candidate
