"""What a report of Lighthouse says: scores by category, and the audits that cost points."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

#: The least score of each category, of 100.
TARGETS = {"performance": 90, "accessibility": 95, "best-practices": 95}
# What of a cause is worth a line.
_CAUSES = 5
# Where another audit names what this one only counts.
_NAMED_BY = {"cumulative-layout-shift": "layout-shifts"}


@dataclass(frozen=True)
class Cost:
    """An audit that is not perfect: the points that its category loses, what was measured, and where."""

    audit: str
    points: float
    told: str
    causes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Scores:
    """Of one run or, with `spread`, of several: the median, the lowest and the highest."""

    medians: Mapping[str, float]
    spread: Mapping[str, tuple[float, float]]
    costs: Mapping[str, Sequence[Cost]]

    def missed(self) -> list[str]:
        return [
            f"{category} {self.medians[category]:.0f}, {least} wanted"
            for category, least in TARGETS.items()
            if self.medians[category] < least
        ]


def read_scores(reports: Sequence[Mapping[str, Any]]) -> Scores:
    """The costs are those of the run in the middle. Raises ValueError where a run came to nothing."""
    for report in reports:
        if error := report.get("runtimeError"):
            raise ValueError(f"{error['code']}: {error['message']}")
    points = {
        category: [100 * report["categories"][category]["score"] for report in reports]
        for category in TARGETS
    }
    return Scores(
        {category: statistics.median_low(found) for category, found in points.items()},
        {category: (min(found), max(found)) for category, found in points.items()},
        {
            category: costs_of(reports[found.index(statistics.median_low(found))], category)
            for category, found in points.items()
        },
    )


def costs_of(report: Mapping[str, Any], category: str) -> list[Cost]:
    """The most expensive first."""
    references = report["categories"][category]["auditRefs"]
    graded = {
        reference["id"]: reference["weight"]
        for reference in references
        # What does not apply to the page has no score and no weight.
        if report["audits"][reference["id"]]["score"] is not None
    }
    total = sum(graded.values()) or 1
    costs = []
    for name, weight in graded.items():
        audit = report["audits"][name]
        if weight and audit["score"] < 1:
            points = 100 * weight * (1 - audit["score"]) / total
            told = " ".join(filter(None, (audit["title"], audit.get("displayValue"))))
            causes = _causes_of(report["audits"].get(_NAMED_BY.get(name, name), audit))
            costs.append(Cost(name, points, told, causes))
    return sorted(costs, key=lambda cost: -cost.points)


def _causes_of(audit: Mapping[str, Any]) -> tuple[str, ...]:
    """The elements or messages that the audit names, each in a line."""
    items = (audit.get("details") or {}).get("items") or []
    found = [
        item.get("node", {}).get("snippet") or item.get("description") or item.get("url") or ""
        for item in items
    ]
    return tuple(cause[:160] for cause in found if cause)[:_CAUSES]
