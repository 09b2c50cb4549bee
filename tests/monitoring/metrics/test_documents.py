"""docs/metrics.md lists every metric as it is declared, and no other one."""

from __future__ import annotations

import re

from monitoring.metrics import REGISTRY
from monitoring.monitor import node_metrics  # noqa: F401  declares what the monitor process tells
from tests.environment import PROJECT_ROOT

#: What the exposition adds by itself.
OTHERS = {"build_info", "redis_up", "processes"}


def test_every_metric_is_documented_as_it_is_declared() -> None:
    text = (PROJECT_ROOT / "docs" / "metrics.md").read_text()
    families = REGISTRY.families()
    for family in families:
        labels = ", ".join(f"`{label}`" for label in family.labels)
        assert f"| `{family.name}` | {family.kind} | {labels} | {family.help} |\n" in text
    listed = set(re.findall(r"^\| `(\w+)` \|", text, re.MULTILINE))
    assert listed == OTHERS | {family.name for family in families}
