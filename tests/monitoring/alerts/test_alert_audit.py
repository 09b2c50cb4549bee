"""What becomes of alerts, told by the audit log once each."""

from __future__ import annotations

from typing import Any

import pytest

from monitoring.audit import SYSTEM
from monitoring.models import Alert, AlertChannel, AlertRule, AuditLog
from monitoring.services import alert_audit
from monitoring.services.alert_audit import MOST_AN_HOUR
from monitoring.services.alert_deliveries import PAUSES, attempt
from monitoring.services.alert_rules import change_rule
from tests.conftest import Caller
from tests.monitoring.alerts.stove import Stove

pytestmark = pytest.mark.django_db
FIRED, RESOLVED, GIVEN_UP = "alert.fired", "alert.resolved", "alert_channel.not_delivered"


def rows(*actions: str) -> list[AuditLog]:
    return list(AuditLog.objects.filter(action__in=actions).order_by("id"))


def test_firing_and_its_end_are_a_row_each_and_repeats_are_none(
    stove: Stove, rule: AlertRule
) -> None:
    stove.wait(1)
    stove.wait(60, p0=150)
    (fired,) = rows(FIRED, RESOLVED)
    assert (fired.action, fired.actor_name, fired.actor) == (FIRED, SYSTEM, None)
    assert (fired.target_type, fired.target_id) == ("alert", str(Alert.objects.get().pk))
    assert fired.data["rule"] == "Hot"
    assert fired.data["labels"] == {"plate": "0"}
    assert fired.data["value"] == 150
    stove.wait(60, p0=20)
    assert [row.action for row in rows(FIRED, RESOLVED)] == [FIRED, RESOLVED]


def test_a_rule_that_somebody_turns_off_ends_its_alerts_by_the_system(
    stove: Stove, rule: AlertRule, admin: Caller
) -> None:
    stove.wait(1)
    stove.wait(5, p0=150)
    change_rule(actor=admin.user, rule=rule, changes={"is_enabled": False})
    (ended,) = rows(RESOLVED)
    (changed,) = rows("alert_rule.changed")
    assert (ended.actor_name, changed.actor) == (SYSTEM, admin.user)


def test_what_a_second_leader_finds_too_is_one_row(stove: Stove, rule: AlertRule) -> None:
    from monitoring.alerts.watch import Watch

    other = Watch(lambda: stove.now)
    stove.wait(1)
    other.run()
    stove.heat[("0",)] = 150
    for _ in range(6):
        stove.now += 1
        stove.watch.run()
        other.run()
    assert len(rows(FIRED)) == 1


def test_a_rule_that_flaps_fills_no_log(
    stove: Stove, rule: AlertRule, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert MOST_AN_HOUR == 100
    monkeypatch.setattr(alert_audit, "MOST_AN_HOUR", 2)
    stove.wait(1)
    for _ in range(4):
        stove.wait(5, p0=150)
        stove.wait(15, p0=20)
    assert Alert.objects.filter(state="resolved").count() == 4
    assert [row.action for row in rows(FIRED, RESOLVED)] == [FIRED, RESOLVED, FIRED, RESOLVED]
    assert ["more" in row.data for row in rows(FIRED)] == [False, True]


def test_a_message_that_is_given_up_is_a_row_and_an_attempt_is_none(
    stove: Stove, rule: AlertRule, channel: AlertChannel
) -> None:
    stove.wait(1)
    stove.wait(5, p0=150)
    delivery = channel.deliveries.get()
    for _ in PAUSES:
        attempt(delivery)  # nothing is sealed for it, so it fails
    assert rows(GIVEN_UP) == []
    attempt(delivery)
    (row,) = rows(GIVEN_UP)
    facts: dict[str, Any] = row.data
    assert (row.outcome, row.target_name, row.actor_name) == ("failed", "pager", SYSTEM)
    assert (facts["rule"], facts["attempts"]) == ("Hot", len(PAUSES) + 1)
    assert facts["reason"] == "its secret cannot be opened: give it again"
