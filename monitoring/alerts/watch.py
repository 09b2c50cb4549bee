"""The duty of the leading monitor: once a second hold every rule against what is measured.

Redis or database away: the evaluation pauses, nothing fires and nothing ends. Afterwards every
duration begins anew, since nobody knows what held meanwhile.
"""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Callable
from datetime import timedelta

import redis
from django.conf import settings
from django.db import DatabaseError, InterfaceError
from django.utils import timezone

from llamagpu.lib.prepared_query import PreparedQuery
from llamagpu.lib.redis_client import SyncRedis, sync_client
from monitoring.alerts.evaluator import Changes, Evaluator
from monitoring.alerts.metrics import FIRING
from monitoring.alerts.readings import Readings, UnknownValueError
from monitoring.alerts.report import EvaluationReport, Pending, last_report, tell
from monitoring.alerts.words import Severity
from monitoring.configuration import current
from monitoring.health import ProbeFailedError, ProbeResult, register_parts
from monitoring.metrics.reading import snapshot
from monitoring.models import Alert, AlertDelivery, AlertRule
from monitoring.monitor.duties import register_duty
from monitoring.services.alert_deliveries import Courier
from monitoring.services.alerts import apply_changes

logger = logging.getLogger(__name__)

_EVERY = 1.0
_NO_MONITOR = "no monitor evaluates the rules"

# Asked every second: Django takes longer to build these than a database to answer.
_RULES = PreparedQuery(lambda: AlertRule.objects.filter(is_enabled=True))
_MARKS = PreparedQuery(
    lambda: Alert.objects.firing().values_list("rule_id", "fingerprint", "severity")
)


class Watch:
    """One process's evaluation; what it remembers between two rounds is worth nothing to others."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._evaluator = Evaluator()
        self._readings = Readings()

    def run(self) -> Changes:
        """One round. Raises RedisError or DatabaseError where it pauses."""
        try:
            return self._round()
        except redis.RedisError:
            self._evaluator.forget()
            raise
        except (DatabaseError, InterfaceError):
            self._evaluator.forget()
            paused = "the database does not answer: nothing is evaluated"
            _tell(EvaluationReport(time.time(), paused=paused))
            raise

    def _round(self) -> Changes:
        now = self._clock()
        if not self._evaluator.begin(now):
            self._readings.forget()
        # The meter of this process reads it every second, too.
        self._readings.begin(snapshot(max_age=_EVERY), now)
        rules = {rule.pk: rule for rule in _RULES.rows()}
        firing: dict[int, set[str]] = {}
        severities: Counter[str] = Counter()
        for rule_id, mark, severity in _MARKS.rows():
            firing.setdefault(rule_id, set()).add(mark)
            severities[severity] += 1
        changes, problems = Changes(), {}
        for rule in rules.values():
            try:
                found = self._readings.values(rule)
            except UnknownValueError as error:
                problems[str(rule.pk)] = str(error)
                continue
            self._evaluator.judge(rule, found, firing.get(rule.pk, ()), now, changes)
        self._readings.keep_only({rule.metric for rule in rules.values()})
        self._evaluator.end(now)
        apply_changes(changes, rules)
        for severity in Severity:
            FIRING.set(severities[severity.value], severity=severity.value)
        num_firing = severities.total() + len(changes.firing) - len(changes.over)
        _tell(
            EvaluationReport(
                time.time(),
                num_rules=len(rules),
                num_firing=num_firing,
                pending=[
                    Pending(one.rule_id, one.labels, one.value, one.held) for one in changes.pending
                ],
                problems=problems,
                suppressed=changes.suppressed,
            )
        )
        return changes


def remove_old() -> int:
    """Ended alerts and tellings that are older than the history is kept."""
    edge = timezone.now() - timedelta(days=current().alert_history_days)
    num, _ = Alert.objects.filter(state="resolved", resolved_at__lt=edge).delete()
    tests, _ = AlertDelivery.objects.filter(alert=None, created_at__lt=edge).delete()
    return num + tests


def evaluation_parts() -> list[ProbeResult]:
    """Whether rules are watched, among the services of the status."""
    try:
        report = last_report(_client())
    except redis.RedisError:
        return [ProbeResult("alerts", False, "Redis does not answer: nothing is evaluated", 0.0)]
    if report is None:
        return [ProbeResult("alerts", False, _NO_MONITOR, 0.0)]
    told = report.paused or f"{report.num_rules} rules, {report.num_firing} firing"
    return [ProbeResult("alerts", not report.paused, told, 0.0)]


def read_report() -> EvaluationReport | None:
    """Raises ProbeFailedError where Redis does not answer."""
    try:
        return last_report(_client())
    except redis.RedisError as error:
        raise ProbeFailedError("Redis does not answer: nothing is evaluated") from error


def register() -> None:
    """Called when the app is ready. Threads begin with the first message."""
    watch, courier = Watch(), Courier()
    register_parts("alerts", evaluation_parts)
    register_duty("alerts", watch.run, every=_EVERY)
    register_duty("alert deliveries", courier.dispatch, every=_EVERY)
    register_duty("retention of alerts", remove_old, every=3600)


def _tell(report: EvaluationReport) -> None:
    tell(_client(), report)


def _client() -> SyncRedis:
    return sync_client(settings.REDIS_URL)
