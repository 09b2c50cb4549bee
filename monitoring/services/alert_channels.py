"""Writes of channels: where alerts are sent. Secrets go in, are sealed and never come out."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from typing import Any

from django.conf import settings
from django.core.exceptions import ValidationError
from django.core.validators import validate_email
from django.db import IntegrityError, transaction
from django.utils import timezone

from llamagpu.http.errors import AppError
from llamagpu.lib.error_codes import ErrorCode
from llamagpu.lib.sealing import Sealer
from monitoring import audit
from monitoring.alerts.webhook_address import WebhookAddress, WebhookAddressError, check_allowed
from monitoring.alerts.words import ChannelKind, Occasion, Severity
from monitoring.audit_actions import AuditAction
from monitoring.models import AlertChannel, AlertDelivery
from monitoring.services.plain_text import check_line, invalid

MAX_CHANNELS = 50
MAX_ADDRESSES = 20
MIN_SECRET, MAX_SECRET = 16, 200
FIELDS = ("name", "min_severity", "is_enabled", "addresses", "url", "secret")
_PURPOSE = "llamagpu alert channel"


@transaction.atomic
def create_channel(
    *, actor: Any, kind: str, values: Mapping[str, Any]
) -> tuple[AlertChannel, str | None]:
    """The channel, and a webhook's secret where none was given: to be shown once.

    A mail channel takes `addresses`, a webhook `url` and `secret`. Raises AppError INVALID_INPUT that
    names the field, CONFLICT for a name that is taken.
    """
    if kind not in list(ChannelKind):
        raise invalid("kind", f"must be one of {', '.join(ChannelKind)}")
    if AlertChannel.objects.count() >= MAX_CHANNELS:
        raise AppError(ErrorCode.CONFLICT, f"There are {MAX_CHANNELS} channels already.")
    needed = "addresses" if kind == ChannelKind.MAIL else "url"
    for field in ("name", needed):
        if not values.get(field):
            raise invalid(field, "is required")
    made = None
    if kind == ChannelKind.WEBHOOK and not values.get("secret"):
        made = secrets.token_urlsafe(32)
        values = {**values, "secret": made}
    channel = AlertChannel(kind=kind)
    _set(channel, values)
    _save(channel)
    audit.record(
        actor=actor,
        action=AuditAction.ALERT_CHANNEL_CREATED,
        target=channel,
        after=describe_channel(channel),
    )
    return channel, made


@transaction.atomic
def change_channel(
    *, actor: Any, channel: AlertChannel, changes: Mapping[str, Any]
) -> AlertChannel:
    """The secret stays with its address: another address needs it given again.

    Raises AppError as `create_channel`.
    """
    row = _locked(channel)
    before = describe_channel(row)
    if "url" in changes and not changes.get("secret"):
        raise invalid("secret", "must be given again with another address")
    _set(row, changes)
    _save(row)
    audit.record(
        actor=actor,
        action=AuditAction.ALERT_CHANNEL_CHANGED,
        target=row,
        data={"has_new_secret_set": bool(changes.get("secret"))},
        before=before,
        after=describe_channel(row),
    )
    return row


@transaction.atomic
def delete_channel(*, actor: Any, channel: AlertChannel) -> None:
    row = _locked(channel)
    audit.record(
        actor=actor,
        action=AuditAction.ALERT_CHANNEL_DELETED,
        target=row,
        before=describe_channel(row),
    )
    row.delete()


@transaction.atomic
def send_test(*, actor: Any, channel: AlertChannel) -> AlertDelivery:
    """A message that says it is a test, sent by the monitor as any other one."""
    row = _locked(channel)
    delivery = AlertDelivery.objects.create(
        channel=row,
        occasion=Occasion.TEST,
        body={
            "event": "alert.test",
            "alert": None,
            "url": None,
            "message": f"This is a test of the channel {row.name}.",
            "sent_at": timezone.now().isoformat(),
        },
    )
    audit.record(actor=actor, action=AuditAction.ALERT_CHANNEL_TESTED, target=row)
    return delivery


def open_webhook(channel: AlertChannel) -> tuple[str, str]:
    """Address and secret in the clear, for who sends. Raises UnsealError."""
    sealer = _sealer()
    return sealer.unseal(channel.sealed_url), sealer.unseal(channel.sealed_key)


def describe_channel(channel: AlertChannel) -> dict[str, Any]:
    """What the audit log keeps of a channel."""
    return {
        "name": channel.name,
        "kind": channel.kind,
        "target": channel.target,
        "min_severity": channel.min_severity,
        "is_enabled": channel.is_enabled,
    }


def _set(channel: AlertChannel, values: Mapping[str, Any]) -> None:
    is_mail = channel.kind == ChannelKind.MAIL
    for field in ("url", "secret") if is_mail else ("addresses",):
        if values.get(field):
            raise invalid(field, f"is nothing that a {channel.kind} channel has")
    if "name" in values:
        channel.name = check_line("name", values["name"], 100)
    if "min_severity" in values:
        if values["min_severity"] not in list(Severity):
            raise invalid("min_severity", f"must be one of {', '.join(Severity)}")
        channel.min_severity = values["min_severity"]
    if "is_enabled" in values:
        channel.is_enabled = values["is_enabled"]
    if values.get("addresses"):
        channel.target = ", ".join(_checked_addresses(values["addresses"]))
    if values.get("url"):
        channel.target, channel.sealed_url = _checked_url(values["url"])
    if values.get("secret"):
        channel.sealed_key = _sealer().seal(_checked_secret(values["secret"]))


def _checked_addresses(addresses: list[str]) -> list[str]:
    if settings.SIGN_IN.mail is None:
        raise invalid("addresses", "no mail can be sent: LLAMA_EMAIL_URL is not set")
    if len(addresses) > MAX_ADDRESSES:
        raise invalid("addresses", f"must be at most {MAX_ADDRESSES}")
    for address in addresses:
        try:
            validate_email(address)
        except ValidationError as error:
            raise invalid("addresses", f"'{address[:80]}' is no mail address") from error
    joined = ", ".join(addresses)
    if len(joined) > 1000:
        raise invalid("addresses", "are too long together")
    return addresses


def _checked_url(text: str) -> tuple[str, str]:
    """What is shown of it, and all of it sealed."""
    try:
        address = WebhookAddress.parse(text)
        check_allowed(address, settings.LLAMA.webhook_allow)
    except WebhookAddressError as error:
        raise invalid("url", str(error)) from error
    return address.shown, _sealer().seal(address.url)


def _checked_secret(secret: str) -> str:
    if not MIN_SECRET <= len(secret) <= MAX_SECRET or not secret.isascii():
        raise invalid("secret", f"must be {MIN_SECRET} to {MAX_SECRET} ASCII characters")
    return secret


def _save(channel: AlertChannel) -> None:
    try:
        with transaction.atomic():
            channel.save()
    except IntegrityError as error:
        raise AppError(ErrorCode.CONFLICT, f"name: there is a channel '{channel.name}'.") from error


def _locked(channel: AlertChannel) -> AlertChannel:
    row = AlertChannel.objects.select_for_update().filter(pk=channel.pk).first()
    if row is None:
        raise AppError(ErrorCode.NOT_FOUND, "There is no such channel.")
    return row


def _sealer() -> Sealer:
    return Sealer([settings.SECRET_KEY, *settings.SECRET_KEY_FALLBACKS], _PURPOSE)
