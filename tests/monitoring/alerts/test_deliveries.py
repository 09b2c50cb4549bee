"""Messages that really arrive, or really do not."""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from llamagpu.http.errors import AppError
from llamagpu.lib.allow_list import AllowList
from llamagpu.lib.sign_in_config import MailConfig
from monitoring.alerts import webhook as webhook_module
from monitoring.alerts.words import Occasion
from monitoring.models import Alert, AlertChannel, AlertDelivery, AlertRule
from monitoring.services.alert_channels import create_channel, send_test
from monitoring.services.alert_deliveries import PAUSES, Courier, attempt
from monitoring.services.alerts import message_of
from tests.monitoring.alerts.receivers import Hook, mail_server, webhook

pytestmark = pytest.mark.django_db
SECRET = "a secret of sixteen or more"


@pytest.fixture
def hook(settings: Any) -> Iterator[Hook]:
    allow_private(settings)
    with webhook() as running:
        yield running


def allow_private(settings: Any, *words: str) -> None:
    allow = AllowList.parse(words or ("127.0.0.0/8",))
    settings.LLAMA = replace(settings.LLAMA, webhook_allow=allow)


def channel_to(hook: Hook) -> AlertChannel:
    values = {"name": "pager", "url": hook.url, "secret": SECRET}
    return create_channel(actor=None, kind="webhook", values=values)[0]


def firing(**values: Any) -> Alert:
    rule = AlertRule.objects.create(name="Hot", metric="test_heat", threshold=100)
    facts = {"rule_name": "Hot", "severity": "critical", "summary": "Hot: too hot.", "value": 150}
    return Alert.objects.create(rule=rule, fingerprint="f", labels={"plate": "0"}, **facts | values)


def delivery_of(channel: AlertChannel) -> AlertDelivery:
    alert = firing()
    body = message_of(alert, Occasion.FIRING)
    return AlertDelivery.objects.create(channel=channel, alert=alert, occasion="firing", body=body)


def test_a_webhook_gets_the_alert_signed(hook: Hook) -> None:
    delivery = delivery_of(channel_to(hook))
    attempt(delivery)
    got = hook.next()
    assert got.path == "/hook?token=hidden"
    assert json.loads(got.body) == delivery.body
    timestamp = got.headers["X-LlamaGPU-Timestamp"]
    signed = hmac.new(SECRET.encode(), timestamp.encode() + b"." + got.body, hashlib.sha256)
    assert got.headers["X-LlamaGPU-Signature"] == f"v1={signed.hexdigest()}"
    assert got.headers["X-LlamaGPU-Event"] == "alert.firing"
    assert got.headers["X-LlamaGPU-Delivery"] == str(delivery.pk)
    assert delivery.state == "sent"


def test_a_receiver_that_fails_is_asked_again_later_and_given_up_at_last(hook: Hook) -> None:
    delivery = delivery_of(channel_to(hook))
    hook.statuses = [500] * (len(PAUSES) + 1)
    for pause in PAUSES:
        attempt(delivery)
        assert (delivery.state, delivery.error) == ("waiting", "it answered 500")
        due_in = delivery.next_attempt_at - timezone.now()
        assert abs(due_in - timedelta(seconds=pause)) < timedelta(seconds=5)
    attempt(delivery)
    assert delivery.state == "failed"


def test_a_redirect_is_not_followed(hook: Hook) -> None:
    hook.statuses, hook.location = [302], f"http://127.0.0.1:{hook.port}/elsewhere"
    delivery = delivery_of(channel_to(hook))
    attempt(delivery)
    assert delivery.error == "it answered 302: redirects are not followed"
    assert hook.requests.qsize() == 1


def test_a_private_address_is_refused_where_it_is_written_and_where_it_is_called(
    hook: Hook, settings: Any
) -> None:
    delivery = delivery_of(channel_to(hook))
    allow_private(settings, "10.1.2.3")
    attempt(delivery)
    assert delivery.error == "its name leads to no address that may be called"
    assert hook.requests.empty()
    with pytest.raises(AppError, match="LLAMA_WEBHOOK_ALLOW"):
        create_channel(actor=None, kind="webhook", values={"name": "x", "url": hook.url})


def test_a_name_that_leads_to_a_private_address_is_refused_at_the_call(
    hook: Hook, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    allow_private(settings, "10.1.2.3")
    found = [(2, 1, 6, "", ("127.0.0.1", hook.port))]
    monkeypatch.setattr(webhook_module.socket, "getaddrinfo", lambda *_, **__: found)
    url = f"http://innocent.example:{hook.port}/"
    with pytest.raises(webhook_module.SendError, match="no address"):
        webhook_module.send(url, SECRET, {}, delivery="d", allow=settings.LLAMA.webhook_allow)
    assert hook.requests.empty()


@pytest.mark.parametrize(
    "url",
    [
        "http://169.254.169.254/latest", "http://[::1]/", "http://[::ffff:127.0.0.1]/",
        "http://localhost/", "http://0.0.0.0/", "http://10.0.0.1/", "http://user:pw@host.example/",
        "ftp://host.example/", "http://2130706433/", "http://host.example:0/", "http://host\\@x/",
        "https://", "gopher:x", "http://[fd00:ec2::254]/",
    ],
)  # fmt: skip
def test_addresses_that_no_webhook_may_have(url: str) -> None:
    with pytest.raises(AppError, match="url"):
        create_channel(actor=None, kind="webhook", values={"name": "x", "url": url})


def test_secret_and_address_are_sealed_and_in_no_audit_row(hook: Hook) -> None:
    from monitoring.models import AuditLog

    channel = channel_to(hook)
    stored = AlertChannel.objects.filter(pk=channel.pk).values()[0]
    rows = list(AuditLog.objects.values("data", "before", "after", "target_name"))
    for text in (SECRET, "hidden"):
        assert text not in f"{stored} {rows}"
    assert stored["target"] == f"http://127.0.0.1:{hook.port}"


def test_a_mail_says_it_all(settings: Any) -> None:
    with mail_server() as (mailbox, port):
        mail_by(settings, port)
        values = {"name": "us", "addresses": ["ada@example.org", "bob@example.org"]}
        channel, _ = create_channel(actor=None, kind="mail", values=values)
        delivery = delivery_of(channel)
        attempt(delivery)
        mail = mailbox.mails.get(timeout=20)
    assert delivery.state == "sent"
    assert mailbox.recipients == ["ada@example.org", "bob@example.org"]
    assert mail["Subject"] == "LLaMA GPU: [critical] Hot"
    text = mail.get_content()
    assert "Hot: too hot." in text
    assert "plate: 0" in text


def test_a_mail_server_that_is_away_is_tried_again(settings: Any) -> None:
    with mail_server() as (_, port):
        mail_by(settings, port)
        values = {"name": "us", "addresses": ["ada@example.org"]}
        channel, _ = create_channel(actor=None, kind="mail", values=values)
    delivery = delivery_of(channel)
    attempt(delivery)
    assert delivery.state == "waiting"
    assert "ConnectionRefusedError" in delivery.error


def mail_by(settings: Any, port: int) -> None:
    mail = MailConfig("127.0.0.1", port, "", "", False, False, "llamagpu@example.org")
    settings.SIGN_IN = replace(settings.SIGN_IN, mail=mail)
    settings.EMAIL_BACKEND = "django.core.mail.backends.smtp.EmailBackend"
    settings.EMAIL_HOST, settings.EMAIL_PORT = mail.host, port
    settings.DEFAULT_FROM_EMAIL = mail.sender


@pytest.mark.django_db(transaction=True, serialized_rollback=True)
def test_the_courier_sends_what_is_due_once_and_one_a_channel_at_a_time(hook: Hook) -> None:
    channel = channel_to(hook)
    first = send_test(actor=None, channel=channel)
    send_test(actor=None, channel=channel)
    courier, other = Courier(), Courier()
    assert courier.dispatch() == 1
    assert json.loads(hook.next().body)["event"] == "alert.test"
    courier.wait(20)
    first.refresh_from_db()
    assert first.state == "sent"
    assert other.dispatch() == 1
    other.wait(20)
    assert courier.dispatch() == other.dispatch() == 0
    assert set(AlertDelivery.objects.values_list("state", flat=True)) == {"sent"}


@pytest.mark.django_db(transaction=True, serialized_rollback=True)
def test_what_a_dead_monitor_had_claimed_is_sent_by_the_next_one(hook: Hook) -> None:
    delivery = send_test(actor=None, channel=channel_to(hook))
    claimed = timezone.now() + timedelta(seconds=120)
    AlertDelivery.objects.update(next_attempt_at=claimed)
    courier = Courier()
    assert courier.dispatch() == 0
    AlertDelivery.objects.update(next_attempt_at=timezone.now() - timedelta(seconds=1))
    assert courier.dispatch() == 1
    courier.wait(20)
    delivery.refresh_from_db()
    assert delivery.state == "sent"
