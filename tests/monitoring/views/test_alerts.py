"""The page of alerts: what it shows to whom."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from monitoring.models import Alert, AlertChannel, AlertDelivery, AlertRule, AlertSilence
from tests.conftest import Caller
from tests.monitoring.views.test_audit import signed_in


def alert(**values: Any) -> Alert:
    rule = AlertRule.objects.get(name="A GPU is hot")
    facts = {"rule_name": rule.name, "fingerprint": "f", "severity": "critical", "value": 91.0}
    facts |= {"summary": "<b>hot</b>", "labels": {"gpu": "0"}}
    return Alert.objects.create(rule=rule, **facts | values)


def page(caller: Caller, query: str = "") -> str:
    answer = signed_in(caller).get(f"/alerts{query}")
    assert answer.status_code == 200
    return str(answer.content.decode())


def test_what_fires_is_shown_escaped_with_buttons_for_who_may(
    admin: Caller, guest: Caller, redis_client: Any
) -> None:
    number = alert().pk
    shown = page(admin)
    assert "&lt;b&gt;hot&lt;/b&gt;" in shown
    assert f"alerts/{number}/acknowledge" in shown
    assert "Paused: no monitor evaluates the rules." in shown
    seen = page(guest)
    assert "&lt;b&gt;hot&lt;/b&gt;" in seen
    assert "data-call" not in seen
    assert "<dialog" not in seen


def test_a_silenced_alert_says_so(guest: Caller, redis_client: Any) -> None:
    alert()
    ends = timezone.now() + timedelta(hours=1)
    AlertSilence.objects.create(labels={"gpu": "0"}, ends_at=ends, comment="x")
    assert "silenced" in page(guest)
    assert "active" in page(guest, "?tab=silences")


def test_the_history_has_what_is_over(guest: Caller, redis_client: Any) -> None:
    began = timezone.now() - timedelta(minutes=5)
    alert(state="resolved", started_at=began, resolved_at=began + timedelta(seconds=90))
    assert "1 min 30 s" in page(guest, "?tab=history")
    assert "Nothing is wrong." in page(guest)


def test_rules_are_shown_with_their_conditions(admin: Caller, redis_client: Any) -> None:
    shown = page(admin, "?tab=rules")
    assert "gpu_temperature_celsius &gt; 87" in shown
    assert "rule-dialog" in shown


def test_channels_are_for_who_manages_them(
    admin: Caller, operator: Caller, redis_client: Any
) -> None:
    channel = AlertChannel.objects.create(name="pager", kind="webhook", target="https://x.example")
    AlertDelivery.objects.create(channel=channel, occasion="test", body={}, error="it answered 500")
    assert "it answered 500" in page(admin, "?tab=channels")
    assert "x.example" not in page(operator, "?tab=channels")


@pytest.mark.parametrize("tab", ["now", "history", "rules", "silences", "channels", "nonsense"])
def test_each_tab_comes_alone_for_the_script(admin: Caller, redis_client: Any, tab: str) -> None:
    part = page(admin, f"?tab={tab}&part=1")
    assert "<html" not in part
