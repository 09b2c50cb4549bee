"""Alerts through the API: who may, what is refused, what changes and is kept."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from monitoring.audit_actions import AuditAction
from monitoring.models import Alert, AlertChannel, AlertDelivery, AlertRule, AlertSilence, AuditLog
from tests.conftest import Caller, make_caller

RULES, SILENCES, CHANNELS = "/api/alerts/rules", "/api/alerts/silences", "/api/alerts/channels"
NEW_RULE = {"name": "Slow", "metric": "time_to_first_token_seconds", "threshold": 2}


def send(caller: Caller, method: str, path: str, body: Any = None) -> Any:
    return Client().generic(
        method,
        path,
        json.dumps(body or {}),
        content_type="application/json",
        headers=caller.headers,
    )


def firing(name: str = "A GPU is hot") -> Alert:
    rule = AlertRule.objects.get(name=name)
    facts = {"rule_name": name, "severity": "warning", "summary": "hot", "value": 91.0}
    return Alert.objects.create(rule=rule, fingerprint=name[:30], labels={"gpu": "0"}, **facts)


def tomorrow() -> str:
    return (timezone.now() + timedelta(days=1)).isoformat()


def test_who_may_read_monitoring_sees_alerts_and_changes_nothing(guest: Caller) -> None:
    alert = firing()
    (shown,) = guest.get("/api/alerts?state=firing").json()["results"]
    assert (shown["id"], shown["rule"], shown["labels"]) == (alert.pk, "A GPU is hot", {"gpu": "0"})
    assert guest.get(f"/api/alerts/{alert.pk}").json()["alert"] == shown
    assert len(guest.get(RULES).json()["results"]) >= 10
    assert guest.get("/api/alerts/metrics").json()["metrics"]
    assert guest.get(SILENCES).status_code == 200
    assert guest.get(CHANNELS).status_code == 403
    assert guest.get("/api/alerts/deliveries").status_code == 403
    assert guest.post(RULES, NEW_RULE).status_code == 403
    assert guest.post(f"/api/alerts/{alert.pk}/acknowledge", {}).status_code == 403


def test_a_key_for_metrics_alone_writes_nothing(db: None) -> None:
    narrow = make_caller("admin", scopes=("metrics",))
    assert narrow.get("/api/alerts").status_code == 200
    assert narrow.post(RULES, NEW_RULE).status_code == 403


def test_a_rule_from_its_making_to_its_end(admin: Caller) -> None:
    answer = admin.post(RULES, NEW_RULE)
    assert answer.status_code == 201
    rule = answer.json()["rule"]
    assert (rule["comparison"], rule["duration"], rule["severity"]) == (">", 60, "warning")
    path = f"{RULES}/{rule['id']}"
    assert send(admin, "PATCH", path, {"threshold": 3, "labels": {"model_name": "m"}}).json()[
        "rule"
    ]["labels"] == {"model_name": "m"}
    assert admin.get(path).json()["rule"]["threshold"] == 3
    assert send(admin, "DELETE", path).status_code == 204
    assert admin.get(path).status_code == 404
    deeds = AuditLog.objects.filter(target_type="alertrule").values_list("action", flat=True)
    assert list(deeds) == ["alert_rule.created", "alert_rule.changed", "alert_rule.deleted"]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("metric", "no_such_metric"), ("threshold", "2"), ("comparison", "~"), ("duration", -1),
        ("window", 5), ("quantile", 1), ("severity", "bad"), ("labels", {"user": "x"}),
        ("labels", {"model_name": ""}), ("name", "two\nlines"), ("name", ""), ("colour", "red"),
        ("is_builtin", True), ("threshold", 1e300), ("summary", "x" * 301),
    ],
)  # fmt: skip
def test_a_wrong_field_is_named(admin: Caller, field: str, value: Any) -> None:
    answer = admin.post(RULES, {**NEW_RULE, field: value})
    assert answer.status_code == 400
    assert field in answer.json()["error"]["message"]
    assert not AlertRule.objects.filter(is_builtin=False).exists()


def test_a_name_is_there_once_and_built_in_rules_stay(admin: Caller) -> None:
    assert admin.post(RULES, {**NEW_RULE, "name": "Requests fail"}).status_code == 409
    rule = AlertRule.objects.get(name="Requests fail")
    assert send(admin, "DELETE", f"{RULES}/{rule.pk}").status_code == 409
    answer = send(admin, "PATCH", f"{RULES}/{rule.pk}", {"is_enabled": False})
    assert answer.json()["rule"]["is_enabled"] is False


def test_an_alert_is_acknowledged_once(admin: Caller) -> None:
    alert = firing()
    answer = admin.post(f"/api/alerts/{alert.pk}/acknowledge", {"note": "mine"})
    assert answer.json()["alert"]["acknowledged_by"] == "the-admin"
    assert admin.post(f"/api/alerts/{alert.pk}/acknowledge", {}).status_code == 409
    assert AuditLog.objects.filter(action=AuditAction.ALERT_ACKNOWLEDGED).count() == 1


def test_silences_begin_and_end(admin: Caller) -> None:
    rule = AlertRule.objects.get(name="A GPU is hot")
    body = {"rule": rule.pk, "labels": {"gpu": "0"}, "ends_at": tomorrow(), "comment": "new fans"}
    answer = admin.post(SILENCES, body)
    assert answer.status_code == 201
    silence = answer.json()["silence"]
    assert (silence["active"], silence["created_by"]) == (True, "the-admin")
    assert len(admin.get(f"{SILENCES}?active=true").json()["results"]) == 1
    path = f"{SILENCES}/{silence['id']}"
    assert [send(admin, "DELETE", path).status_code for _ in range(2)] == [204, 204]
    assert admin.get(f"{SILENCES}?active=true").json()["results"] == []
    assert admin.get(path).json()["silence"]["active"] is False
    deeds = AuditLog.objects.filter(target_type="alertsilence").values_list("action", flat=True)
    assert list(deeds) == ["alert.silenced", "alert.silence_ended"]


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"ends_at": "2020-01-01T00:00:00Z"}, "ends_at"),
        ({"ends_at": "2099-01-01T00:00:00Z"}, "ends_at"),
        ({"rule": None}, "rule"),
        ({"rule": 999_999}, "rule"),
        ({"comment": " "}, "comment"),
        ({"labels": {"user": "x"}}, "labels"),
    ],
)
def test_a_silence_that_cannot_be_is_refused_by_field(
    admin: Caller, change: dict[str, Any], field: str
) -> None:
    rule = AlertRule.objects.get(name="A GPU is hot")
    body = {"rule": rule.pk, "ends_at": tomorrow(), "comment": "x", **change}
    answer = admin.post(SILENCES, body)
    assert answer.status_code == 400
    assert answer.json()["error"]["message"].startswith(field)
    assert not AlertSilence.objects.exists()


def test_a_channel_shows_its_secret_once_and_its_address_never(admin: Caller) -> None:
    url = "https://hooks.example.org/services/very-secret"
    answer = admin.post(CHANNELS, {"name": "pager", "kind": "webhook", "url": url})
    assert answer.status_code == 201
    secret, channel = answer.json()["secret"], answer.json()["channel"]
    assert len(secret) >= 32
    assert channel["target"] == "https://hooks.example.org"
    later = admin.get(f"{CHANNELS}/{channel['id']}").content.decode()
    assert secret not in later
    assert "very-secret" not in later
    path = f"{CHANNELS}/{channel['id']}"
    elsewhere = {"url": "https://elsewhere.example.org/"}
    assert send(admin, "PATCH", path, elsewhere).status_code == 400
    changed = send(admin, "PATCH", path, {**elsewhere, "secret": "x" * 20})
    assert changed.json()["channel"]["target"] == "https://elsewhere.example.org"
    assert send(admin, "DELETE", path).status_code == 204
    assert not AlertChannel.objects.exists()


def test_a_test_is_left_to_the_monitor(admin: Caller) -> None:
    body = {"name": "pager", "kind": "webhook", "url": "https://hooks.example.org/"}
    number = admin.post(CHANNELS, body).json()["channel"]["id"]
    answer = admin.post(f"{CHANNELS}/{number}/test", None)
    assert answer.status_code == 202
    delivery = answer.json()["delivery"]
    assert (delivery["state"], delivery["occasion"]) == ("waiting", "test")
    (listed,) = admin.get(f"/api/alerts/deliveries?channel={number}").json()["results"]
    assert listed["id"] == delivery["id"]
    assert AlertDelivery.objects.count() == 1


def test_mail_needs_a_mail_server(admin: Caller) -> None:
    body = {"name": "us", "kind": "mail", "addresses": ["ada@example.org"]}
    answer = admin.post(CHANNELS, body)
    assert answer.status_code == 400
    assert "LLAMA_EMAIL_URL" in answer.json()["error"]["message"]


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"kind": "webhook"}, "url"),
        ({"kind": "mail"}, "addresses"),
        ({"kind": "pigeon", "url": "https://x.example/"}, "kind"),
        ({"kind": "webhook", "url": "https://x.example/", "secret": "short"}, "secret"),
        (
            {"kind": "webhook", "url": "https://x.example/", "addresses": ["a@b.example"]},
            "addresses",
        ),
        ({"kind": "webhook", "url": "https://x.example/", "min_severity": "x"}, "min_severity"),
    ],
)
def test_a_channel_that_cannot_be_is_refused_by_field(
    admin: Caller, body: dict[str, Any], field: str
) -> None:
    answer = admin.post(CHANNELS, {"name": "x", **body})
    assert answer.status_code == 400
    assert answer.json()["error"]["message"].startswith(field)


def test_the_status_says_that_nothing_is_evaluated_without_a_monitor(
    guest: Caller, redis_client: Any
) -> None:
    answer = guest.get("/api/alerts/status").json()
    assert answer["paused"] == "no monitor evaluates the rules"
    assert answer["pending"] == []
