"""Alerts for people: what fires, what has fired, rules, silences, where it is sent."""

from __future__ import annotations

import json
from typing import Any

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils import timezone
from django.utils.translation import gettext_noop

from llamagpu.http.pages import PageView
from llamagpu.http.permissions import READ_MONITORING, WRITE_MONITORING, allows
from monitoring.alert_shapes import shape_channel, shape_rule
from monitoring.alerts.labels import in_words
from monitoring.alerts.values import watchables
from monitoring.alerts.words import AlertState, ChannelKind, Comparison, Severity
from monitoring.api.alerts import evaluation
from monitoring.models import Alert, AlertChannel, AlertDelivery, AlertRule, AlertSilence
from monitoring.services.alerts import is_silenced

TABS = {
    "now": gettext_noop("Now"),
    "history": gettext_noop("History"),
    "rules": gettext_noop("Rules"),
    "silences": gettext_noop("Silences"),
    "channels": gettext_noop("Channels"),
}
_ROWS = 100
_KEPT = 50


class AlertsPage(PageView):
    """GET /alerts; `part` is the tab alone, for the page's own script."""

    access = READ_MONITORING
    http_method_names = ["get", "head", "options"]

    def get(self, request: HttpRequest) -> HttpResponse:
        may_write = allows(WRITE_MONITORING, request.user, None)
        tabs = {name: label for name, label in TABS.items() if may_write or name != "channels"}
        tab = request.GET.get("tab", "now")
        tab = tab if tab in tabs else "now"
        context = {
            "tab": tab,
            "tabs": tabs,
            "may_write": may_write,
            "template": f"monitoring/alerts_{tab}.html",
            "evaluation": evaluation(),
            "severities": [severity.value for severity in Severity],
            **_BODIES[tab](request),
        }
        if request.GET.get("part"):
            return render(request, "monitoring/alerts_part.html", context)
        if may_write:
            context |= {
                "comparisons": [word.value for word in Comparison],
                "kinds": [kind.value for kind in ChannelKind],
                "watchables": list(watchables().values()),
                "rule_names": list(AlertRule.objects.values_list("pk", "name")),
            }
        return render(request, "monitoring/alerts.html", context)


def _now(request: HttpRequest) -> dict[str, Any]:
    silences = list(AlertSilence.objects.active(timezone.now()))
    names = dict(AlertRule.objects.values_list("pk", "name"))
    pending = [
        {**one, "rule": names.get(one["rule_id"], ""), "where": in_words(one["labels"])}
        for one in evaluation()["pending"]
    ]
    firing = Alert.objects.firing()[:_ROWS]
    return {
        "alerts": [_line(alert) | {"silenced": is_silenced(alert, silences)} for alert in firing],
        "pending": pending,
    }


def _history(request: HttpRequest) -> dict[str, Any]:
    rows = Alert.objects.filter(state=AlertState.RESOLVED)
    before = request.GET.get("before", "")
    if before.isascii() and before.isdigit() and len(before) < 19:
        rows = rows.filter(pk__lt=int(before))
    found = list(rows[: _ROWS + 1])
    older = f"?tab=history&before={found[_ROWS - 1].pk}" if len(found) > _ROWS else ""
    return {"alerts": [_line(alert) for alert in found[:_ROWS]], "older": older}


def _rules(request: HttpRequest) -> dict[str, Any]:
    problems = evaluation()["problems"]
    rules = [
        {
            "row": rule,
            "where": in_words(rule.labels),
            "problem": problems.get(str(rule.pk), ""),
            "values": _as_json(shape_rule(rule)),
        }
        for rule in AlertRule.objects.all()
    ]
    return {"rules": rules}


def _silences(request: HttpRequest) -> dict[str, Any]:
    now = timezone.now()
    rows = AlertSilence.objects.select_related("rule")[:_ROWS]
    silences = [
        {
            "row": row,
            "where": in_words(row.labels),
            "state": gettext_noop("over")
            if row.ends_at <= now
            else gettext_noop("active")
            if row.starts_at <= now
            else gettext_noop("to come"),
        }
        for row in rows
    ]
    return {"silences": silences}


def _channels(request: HttpRequest) -> dict[str, Any]:
    channels = [
        {"row": row, "values": _as_json(shape_channel(row))}
        for row in AlertChannel.objects.visible_to(request.user)
    ]
    sent = AlertDelivery.objects.visible_to(request.user).select_related("channel", "alert")
    return {"channels": channels, "deliveries": sent[:_KEPT]}


def _line(alert: Alert) -> dict[str, Any]:
    lasted = (alert.resolved_at or timezone.now()) - alert.started_at
    return {"row": alert, "where": in_words(alert.labels), "lasted": lasted.total_seconds()}


def _as_json(values: dict[str, Any]) -> str:
    return json.dumps(values, default=str)


_BODIES = {
    "now": _now,
    "history": _history,
    "rules": _rules,
    "silences": _silences,
    "channels": _channels,
}
