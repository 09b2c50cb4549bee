"""Sends what waits: one message a channel at a time, beside the duties, until it arrives or is given up."""

from __future__ import annotations

import logging
import threading
from concurrent.futures import Future, ThreadPoolExecutor, wait
from datetime import timedelta
from typing import Any

from django.conf import settings
from django.core.mail import EmailMessage
from django.db import transaction
from django.utils import timezone

from llamagpu.http.database import release_connections
from llamagpu.lib.prepared_query import PreparedQuery
from llamagpu.lib.sealing import UnsealError
from monitoring.alerts import webhook
from monitoring.alerts.metrics import DELIVERIES
from monitoring.alerts.words import ChannelKind, DeliveryState
from monitoring.models import AlertDelivery
from monitoring.services.alert_audit import audit_given_up
from monitoring.services.alert_channels import open_webhook

logger = logging.getLogger(__name__)

#: Seconds until the next attempt, after each one that failed; after the last it is given up.
PAUSES = (10, 30, 120, 600, 1800, 7200, 21_600)
# Longer than an attempt takes: whoever claims a message and dies leaves it to the next monitor.
_CLAIM = timedelta(seconds=120)
_AT_ONCE = 8
# Asked every second: Django takes longer to build it than a database to answer.
_WAITING = PreparedQuery(
    lambda: (
        AlertDelivery.objects.filter(state=DeliveryState.WAITING).order_by().values_list("pk")[:1]
    )
)


class Courier:
    """`dispatch` hands what is due to threads and returns at once."""

    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="alerts")
        self._busy: dict[int, Future[None]] = {}
        self._lock = threading.Lock()

    def dispatch(self) -> int:
        """How many were begun. Raises DatabaseError."""
        if _WAITING.first() is None:
            return 0
        now, num = timezone.now(), 0
        due = AlertDelivery.objects.due(now).filter(channel__is_enabled=True)
        for channel_id, pk in due.order_by("created_at").values_list("channel_id", "pk")[:200]:
            with self._lock:
                if channel_id in self._busy or len(self._busy) >= _AT_ONCE:
                    continue
                claimed = AlertDelivery.objects.due(now).filter(pk=pk)
                if not claimed.update(next_attempt_at=now + _CLAIM):
                    continue
                self._busy[channel_id] = self._threads.submit(self._attempt, channel_id, pk)
                num += 1
        return num

    def wait(self, timeout: float) -> None:
        """For tests and the end: until what was begun is over."""
        with self._lock:
            begun = list(self._busy.values())
        wait(begun, timeout)

    def _attempt(self, channel_id: int, pk: Any) -> None:
        try:
            delivery = (
                AlertDelivery.objects.select_related("channel", "alert").filter(pk=pk).first()
            )
            if delivery is not None:
                attempt(delivery)
        except Exception:
            logger.exception("an alert could not be sent")
        finally:
            release_connections()
            with self._lock:
                self._busy.pop(channel_id, None)


def attempt(delivery: AlertDelivery) -> None:
    """Once, and write down how it went."""
    channel = delivery.channel
    delivery.num_attempts += 1
    try:
        if channel.kind == ChannelKind.MAIL:
            _send_mail(delivery)
        else:
            url, secret = open_webhook(channel)
            webhook.send(
                url,
                secret,
                delivery.body,
                delivery=str(delivery.pk),
                allow=settings.LLAMA.webhook_allow,
            )
    except UnsealError:
        _note_failure(delivery, "its secret cannot be opened: give it again")
    except webhook.SendError as error:
        _note_failure(delivery, str(error))
    except Exception as error:  # mail servers fail in many ways
        logger.warning("the channel %s failed", channel.name, exc_info=error)
        _note_failure(delivery, f"the mail could not be sent: {type(error).__name__}")
    else:
        delivery.state, delivery.sent_at = DeliveryState.SENT, timezone.now()
        delivery.error = ""
        _save(delivery)


def _note_failure(delivery: AlertDelivery, reason: str) -> None:
    delivery.error = reason[:300]
    if delivery.num_attempts > len(PAUSES):
        delivery.state = DeliveryState.FAILED
        logger.error("an alert was not delivered to %s: %s", delivery.channel.name, reason)
    else:
        pause = PAUSES[delivery.num_attempts - 1]
        delivery.next_attempt_at = timezone.now() + timedelta(seconds=pause)
    _save(delivery)


def _save(delivery: AlertDelivery) -> None:
    with transaction.atomic():
        delivery.save(
            update_fields=["state", "num_attempts", "next_attempt_at", "error", "sent_at"]
        )
        if delivery.state == DeliveryState.FAILED:
            audit_given_up(delivery)
    outcome = "retried" if delivery.state == DeliveryState.WAITING else delivery.state
    DELIVERIES.inc(kind=delivery.channel.kind, outcome=outcome)


def _send_mail(delivery: AlertDelivery) -> None:
    subject, text = mail_of(delivery.body)
    mail = EmailMessage(
        subject,
        text,
        to=[address.strip() for address in delivery.channel.target.split(",")],
        headers={"X-LlamaGPU-Delivery": str(delivery.pk), "Auto-Submitted": "auto-generated"},
    )
    mail.send()


def mail_of(body: dict[str, Any]) -> tuple[str, str]:
    """Subject and text of a message."""
    alert = body.get("alert")
    if alert is None:
        return "LLaMA GPU: test", f"{body.get('message', '')}\n"
    state = "resolved" if body["event"] == "alert.resolved" else alert["severity"]
    lines = [
        alert["summary"],
        "",
        *(f"{name}: {value}" for name, value in alert["labels"].items()),
        f"since: {alert['started_at']}",
        *([f"until: {alert['resolved_at']}"] if alert["resolved_at"] else []),
        *(["", body["url"]] if body.get("url") else []),
    ]
    subject = f"LLaMA GPU: [{state}] {alert['rule']}"
    return " ".join(subject.split())[:200], "\n".join(lines) + "\n"
