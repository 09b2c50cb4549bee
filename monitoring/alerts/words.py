"""The words of alerts, as tables, API and pages spell them."""

from __future__ import annotations

import operator
from collections.abc import Callable
from enum import StrEnum


class Severity(StrEnum):
    """How bad it is, mildest first."""

    INFO = "info"
    WARNING = "warning"
    CRITICAL = "critical"


class AlertState(StrEnum):
    """What is pending stands in no row: only what fires does."""

    FIRING = "firing"
    RESOLVED = "resolved"


class Comparison(StrEnum):
    """How a value is held against its threshold."""

    ABOVE = ">"
    AT_LEAST = ">="
    BELOW = "<"
    AT_MOST = "<="
    EQUAL = "=="
    UNEQUAL = "!="


class ChannelKind(StrEnum):
    MAIL = "mail"
    WEBHOOK = "webhook"


class DeliveryState(StrEnum):
    WAITING = "waiting"
    SENT = "sent"
    FAILED = "failed"


class Occasion(StrEnum):
    """What a message tells."""

    FIRING = "firing"
    RESOLVED = "resolved"
    TEST = "test"


_TESTS: dict[Comparison, Callable[[float, float], bool]] = {
    Comparison.ABOVE: operator.gt,
    Comparison.AT_LEAST: operator.ge,
    Comparison.BELOW: operator.lt,
    Comparison.AT_MOST: operator.le,
    Comparison.EQUAL: operator.eq,
    Comparison.UNEQUAL: operator.ne,
}


def compare(value: float, comparison: str, threshold: float) -> bool:
    return _TESTS[Comparison(comparison)](value, threshold)


def severities_from(lowest: str) -> list[str]:
    """`lowest` and all that are worse."""
    names = [severity.value for severity in Severity]
    return names[names.index(lowest) :]
