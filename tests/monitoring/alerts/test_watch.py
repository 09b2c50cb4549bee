"""From a measured value to an alert and back, on a real Valkey and a real database."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pytest
import redis
from django.db import OperationalError
from django.utils import timezone

from inference.presence import WorkerReport, announce, withdraw
from monitoring.alerts.report import last_report
from monitoring.alerts.watch import Watch, evaluation_parts, remove_old
from monitoring.live_events import ALERT_EVENTS, FIELD, key_of
from monitoring.models import Alert, AlertChannel, AlertDelivery, AlertRule, AlertSilence
from monitoring.services.alert_rules import change_rule, delete_rule
from monitoring.services.alerts import acknowledge
from tests.conftest import Caller
from tests.monitoring.alerts.stove import Stove

pytestmark = pytest.mark.django_db


def events(client: Any) -> list[tuple[str, dict[str, Any]]]:
    told = [json.loads(fields[FIELD.encode()]) for _, fields in client.xrange(key_of(ALERT_EVENTS))]
    return [(event["event_type"], event["data"]) for event in told]


@pytest.mark.django_db(transaction=True, serialized_rollback=True)
def test_it_fires_is_told_and_is_over(
    stove: Stove, rule: AlertRule, channel: AlertChannel, redis_client: Any
) -> None:
    stove.wait(2)
    stove.wait(3, p0=150)
    assert not Alert.objects.exists()
    (pending,) = last_report(redis_client).pending  # type: ignore[union-attr]
    assert (pending.labels, pending.value) == ({"plate": "0"}, 150)
    stove.wait(2)
    alert = Alert.objects.get()
    assert (alert.state, alert.value, alert.labels) == ("firing", 150, {"plate": "0"})
    assert alert.summary == "Hot (plate 0): test_heat is 150, > 100."
    assert AlertDelivery.objects.get().body["event"] == "alert.firing"
    stove.wait(30, p0=20)
    alert.refresh_from_db()
    assert alert.state == "resolved"
    assert list(
        AlertDelivery.objects.order_by("created_at").values_list("occasion", flat=True)
    ) == [
        "firing",
        "resolved",
    ]
    told = events(redis_client)
    assert [name for name, _ in told] == ["alert_firing", "alert_resolved"]
    assert told[0][1]["rule"] == "Hot"


def test_two_leaders_for_a_moment_raise_one_alert(stove: Stove, rule: AlertRule) -> None:
    other = Watch(lambda: stove.now)
    stove.wait(1)
    other.run()
    stove.heat[("0",)] = 150
    for _ in range(6):
        stove.now += 1
        firing = Alert.objects.firing().exists()
        stove.watch.run()
        other.run()
        assert Alert.objects.count() <= 1
    assert firing


def test_the_next_leader_goes_on_with_what_fires(stove: Stove, rule: AlertRule) -> None:
    stove.wait(1)
    stove.wait(5, p0=150)
    stove.watch = Watch(lambda: stove.now)
    stove.wait(90)
    assert Alert.objects.get().state == "firing"
    stove.wait(12, p0=20)
    assert Alert.objects.get().state == "resolved"


def test_what_is_silenced_fires_unsent_until_the_silence_ends(
    stove: Stove, rule: AlertRule, channel: AlertChannel
) -> None:
    ends = timezone.now() + timedelta(hours=1)
    silence = AlertSilence.objects.create(labels={"plate": "0"}, ends_at=ends, comment="x")
    stove.wait(1, p1=20)
    stove.wait(5, p0=150, p1=150)
    assert Alert.objects.firing().count() == 2
    assert [one.alert.labels for one in AlertDelivery.objects.all()] == [{"plate": "1"}]  # type: ignore[union-attr]
    AlertSilence.objects.filter(pk=silence.pk).update(ends_at=timezone.now())
    stove.wait(1)
    assert AlertDelivery.objects.count() == 2


def test_what_somebody_sees_to_is_not_sent(
    stove: Stove, rule: AlertRule, channel: AlertChannel, admin: Caller
) -> None:
    ends = timezone.now() + timedelta(hours=1)
    silence = AlertSilence.objects.create(rule=rule, ends_at=ends, comment="x")
    stove.wait(1)
    stove.wait(5, p0=150)
    acknowledge(actor=admin.user, alert=Alert.objects.get(), note="mine")
    silence.delete()
    stove.wait(2)
    assert not AlertDelivery.objects.exists()


def test_mild_alerts_go_to_channels_that_want_them(
    stove: Stove, rule: AlertRule, channel: AlertChannel
) -> None:
    AlertChannel.objects.filter(pk=channel.pk).update(min_severity="critical")
    mild = AlertChannel.objects.create(name="all", kind="webhook", target="x", min_severity="info")
    AlertChannel.objects.create(name="off", kind="webhook", target="x", is_enabled=False)
    stove.wait(1)
    stove.wait(5, p0=150)
    assert [one.channel for one in AlertDelivery.objects.all()] == [mild]


def test_a_rule_that_is_turned_off_or_deleted_ends_its_alerts(
    stove: Stove, rule: AlertRule
) -> None:
    stove.wait(1)
    stove.wait(5, p0=150)
    change_rule(actor=None, rule=rule, changes={"is_enabled": False})
    assert not Alert.objects.firing().exists()
    change_rule(actor=None, rule=rule, changes={"is_enabled": True})
    stove.wait(5)
    assert Alert.objects.firing().exists()
    delete_rule(actor=None, rule=rule)
    assert not Alert.objects.firing().exists()
    assert Alert.objects.filter(rule=None, rule_name="Hot").count() == 2


def test_while_redis_is_away_nothing_fires_and_durations_begin_anew(
    stove: Stove, rule: AlertRule
) -> None:
    stove.wait(1)
    stove.wait(3, p0=150)
    stove.fault = redis.ConnectionError("away")
    with pytest.raises(redis.ConnectionError):
        stove.wait(1)
    stove.fault = None
    stove.wait(30)
    assert not Alert.objects.exists()
    stove.wait(1, p0=20)
    stove.wait(5, p0=150)
    assert Alert.objects.count() == 1


def test_while_the_database_is_away_the_status_says_so(
    stove: Stove, rule: AlertRule, redis_client: Any
) -> None:
    stove.wait(1)
    (part,) = evaluation_parts()
    assert (part.healthy, part.detail) == (True, "1 rules, 0 firing")
    stove.fault = OperationalError("away")
    with pytest.raises(OperationalError):
        stove.wait(1)
    (part,) = evaluation_parts()
    assert not part.healthy
    assert "database" in part.detail


def test_without_a_monitor_the_status_says_so(redis_client: Any) -> None:
    (part,) = evaluation_parts()
    assert (part.healthy, part.detail) == (False, "no monitor evaluates the rules")


def test_a_rule_of_another_version_is_named_and_stops_no_other_one(
    stove: Stove, rule: AlertRule, redis_client: Any
) -> None:
    strange = AlertRule.objects.create(name="Strange", metric="no_such", threshold=1)
    stove.wait(1)
    stove.wait(5, p0=150)
    assert Alert.objects.get().rule == rule
    report = last_report(redis_client)
    assert report is not None
    assert report.problems == {str(strange.pk): "there is no metric no_such"}


def worker(instance: str) -> WorkerReport:
    return WorkerReport("w1", instance, 1, "here", 0.0, 0, 8)


def test_a_killed_worker_fires_and_a_stopped_one_does_not(redis_client: Any) -> None:
    now = [0.0]
    watch = Watch(lambda: now[0])

    def wait(seconds: int) -> list[str]:
        for _ in range(seconds):
            now[0] += 1
            watch.run()
        return sorted(Alert.objects.firing().values_list("rule_name", flat=True))

    announce(redis_client, worker("a"))
    assert wait(3) == []
    announce(redis_client, worker("b"))  # killed, and started again before it was missed
    assert wait(1) == ["A worker died"]
    Alert.objects.all().delete()
    withdraw(redis_client, "w1")
    assert wait(1) == []
    assert wait(4) == ["No worker serves"]
    announce(redis_client, worker("c"))
    assert wait(20) == []


def test_old_alerts_are_removed(stove: Stove, rule: AlertRule) -> None:
    stove.wait(1)
    stove.wait(5, p0=150)
    old = timezone.now() - timedelta(days=91)
    assert remove_old() == 0
    Alert.objects.update(state="resolved", resolved_at=old)
    assert remove_old() == 1
