"""Order, policy, models, roles and limits of plugins."""

from __future__ import annotations

from typing import Any

import pytest

from llamagpu.http.errors import AppError
from monitoring.models import AuditLog
from plugins_app.models import Plugin
from plugins_app.services.arrangement import change_plugin, order_plugins
from plugins_app.services.lifecycle import enable_plugin
from plugins_app.services.scanning import scan_plugins
from plugins_app.spec import Budget, FailurePolicy
from plugins_app.wanted import wanted_specs


def test_what_is_set_reaches_the_workers(approved: Plugin) -> None:
    enable_plugin(actor=None, plugin=approved)
    changes = {
        "order": 7,
        "policy": "fail_closed",
        "models": ["b", "a", "a"],
        "roles": ["guest"],
        "budget": {"call_timeout": 0.5, "memory_bytes": 128 * 1024 * 1024},
    }
    row = change_plugin(actor=None, plugin=approved, changes=changes)
    (spec,) = wanted_specs()
    assert (spec.order, spec.policy) == (7, FailurePolicy.FAIL_CLOSED)
    assert (spec.models, spec.roles) == (("a", "b"), ("guest",))
    assert spec.budget == Budget(call_timeout=0.5, memory_bytes=128 * 1024 * 1024)
    assert spec.generation == row.generation
    entry = AuditLog.objects.get(action="plugin.changed")
    assert (entry.before["order"], entry.after["order"]) == (100, 7)
    change_plugin(actor=None, plugin=row, changes=changes)
    assert AuditLog.objects.filter(action="plugin.changed").count() == 1


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"order": -1}, "order"),
        ({"order": True}, "order"),
        ({"policy": "maybe"}, "policy"),
        ({"models": "a"}, "models"),
        ({"models": ["No Such"]}, "models"),
        ({"roles": ["nobody"]}, "roles"),
        ({"budget": []}, "budget"),
        ({"budget": {"speed": 1}}, "budget.speed"),
        ({"budget": {"call_timeout": float("nan")}}, "budget.call_timeout"),
        ({"budget": {"max_processes": 1.5}}, "budget.max_processes"),
        ({"budget": {"memory_bytes": 1}}, "budget.memory_bytes"),
    ],
)
def test_what_cannot_be_is_refused_by_name(loud: Plugin, changes: Any, field: str) -> None:
    with pytest.raises(AppError) as refused:
        change_plugin(actor=None, plugin=loud, changes=changes)
    assert refused.value.message.startswith(f"{field}: ")


def test_a_change_that_cannot_be_made_as_a_whole_is_not_made(loud: Plugin) -> None:
    with pytest.raises(AppError, match="waits for approval"):
        change_plugin(actor=None, plugin=loud, changes={"order": 5, "enabled": True})
    loud.refresh_from_db()
    assert (loud.order, loud.is_enabled) == (100, False)


def test_the_named_ones_come_first_and_the_others_keep_their_order(
    loud: Plugin, write_plugin: Any
) -> None:
    for slug in ("zebra", "apple"):
        write_plugin(slug)
    scan_plugins()
    Plugin.objects.exclude(slug__in=["loud", "zebra", "apple"]).delete()
    order_plugins(actor=None, slugs=["zebra"])
    ordered = list(Plugin.objects.values_list("slug", "order"))
    assert ordered == [("zebra", 10), ("apple", 20), ("loud", 30)]


@pytest.mark.parametrize("slugs", [["loud", "loud"], ["nothing"]])
def test_an_order_of_what_is_not_there_is_refused(loud: Plugin, slugs: list[str]) -> None:
    with pytest.raises(AppError):
        order_plugins(actor=None, slugs=slugs)
