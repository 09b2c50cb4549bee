from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from monitoring.alerts import values
from monitoring.models import AlertChannel, AlertRule
from monitoring.services.alert_rules import create_rule
from tests.monitoring.alerts.stove import Stove


@pytest.fixture(autouse=True)
def own_values(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a test registers to be watched is gone with it."""
    monkeypatch.setattr(values, "_values", dict(values._values))


@pytest.fixture
def stove(redis_client: Any) -> Iterator[Stove]:
    AlertRule.objects.all().delete()
    yield Stove()


@pytest.fixture
def rule(stove: Stove) -> AlertRule:
    values = {"name": "Hot", "metric": "test_heat", "threshold": 100.0, "duration": 3}
    return create_rule(actor=None, values=values)


@pytest.fixture
def channel(stove: Stove) -> AlertChannel:
    return AlertChannel.objects.create(name="pager", kind="webhook", target="https://x")
