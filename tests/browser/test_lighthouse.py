"""What `make lighthouse` makes of Lighthouse's reports."""

from __future__ import annotations

from typing import Any

import pytest

from tests.browser.lighthouse.scores import Cost, costs_of, read_scores


def report(performance: float = 1.0, contrast: float | None = 1.0) -> dict[str, Any]:
    """With two audits of weight 3 and 1 in each category, and one that counts for nothing."""
    audit = {"title": "Colours", "score": contrast, "details": {"items": [{"url": "a"}, {}]}}
    references = [{"id": "colours", "weight": 3}, {"id": "names", "weight": 1}]
    references.append({"id": "told-only", "weight": 0})
    scores = {"performance": performance, "accessibility": 0.97, "best-practices": 1.0}
    return {
        "audits": {
            "colours": audit,
            "names": {"title": "Names", "score": 1},
            "told-only": {"title": "Told only", "score": 0},
        },
        "categories": {
            name: {"score": score, "auditRefs": references} for name, score in scores.items()
        },
    }


def test_the_median_counts_and_the_spread_is_told() -> None:
    scores = read_scores([report(0.99), report(0.5), report(0.91)])
    assert scores.medians == {"performance": 91, "accessibility": 97, "best-practices": 100}
    assert scores.spread["performance"] == (50, 99)
    assert scores.missed() == []


def test_a_median_below_the_target_is_missed() -> None:
    assert read_scores([report(0.89)]).missed() == ["performance 89, 90 wanted"]


def test_an_audit_costs_its_share_of_the_category_and_names_what_it_saw() -> None:
    assert costs_of(report(contrast=0.5), "accessibility") == [
        Cost("colours", 37.5, "Colours", ("a",))
    ]


def test_what_does_not_apply_costs_nothing() -> None:
    assert costs_of(report(contrast=None), "accessibility") == []


def test_a_run_that_came_to_nothing_is_an_error() -> None:
    failed = report() | {"runtimeError": {"code": "NO_FCP", "message": "nothing was painted"}}
    with pytest.raises(ValueError, match="NO_FCP"):
        read_scores([report(), failed])
