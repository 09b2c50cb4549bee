"""The queries that we ship, and which metrics and labels each of them names."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import yaml

from monitoring.metrics import REGISTRY, Histogram
from monitoring.metrics.exposition import PREFIX
from monitoring.monitor import node_metrics  # noqa: F401  declares what the monitor process tells
from tests.prometheus import CONFIG, DASHBOARDS

#: What the exposition adds to the families, and Prometheus to every target.
_OTHERS = {
    "llamagpu_build_info": {"version"},
    "llamagpu_redis_up": set[str](),
    "llamagpu_processes": {"role"},
    "up": {"job", "instance"},
}
_NAME = re.compile(r"\b(?:llamagpu[:_][a-z0-9_:]+|up)\b")
_SELECTOR = re.compile(r"\b(llamagpu[:_][a-z0-9_:]+|up)\{([^}]*)\}")
_GROUPING = re.compile(r"\b(?:by|on|without)\s*\(([^)]*)\)")


def panels() -> Iterator[tuple[str, str]]:
    """(where, query) of every panel and variable of every dashboard."""
    for path in sorted(DASHBOARDS.glob("*.json")):
        board = json.loads(path.read_text())
        for panel in board["panels"]:
            for target in panel.get("targets", ()):
                yield f"{path.stem}: {panel['title']}", target["expr"]


def variables() -> Iterator[tuple[str, str, str]]:
    """(where, metric, label) of every variable that asks for label values."""
    for path in sorted(DASHBOARDS.glob("*.json")):
        for item in json.loads(path.read_text())["templating"]["list"]:
            if item["type"] == "query":
                found = re.fullmatch(r"label_values\((\w+), (\w+)\)", item["query"])
                assert found, item
                yield path.stem, found[1], found[2]


def rules() -> Iterator[dict[str, Any]]:
    for name in ("rules.yml", "alerts.yml"):
        for group in yaml.safe_load((CONFIG / name).read_text())["groups"]:
            yield from group["rules"]


def exported() -> dict[str, set[str]]:
    """Every name that `/metrics` can show, with its labels, and those that rules record."""
    names = {name: set(labels) for name, labels in _OTHERS.items()}
    for family in REGISTRY.families():
        name, labels = PREFIX + family.name, set(family.labels)
        if isinstance(family, Histogram):
            names |= {
                f"{name}_bucket": labels | {"le"},
                f"{name}_sum": labels,
                f"{name}_count": labels,
            }
        else:
            names[name] = labels
    for rule in rules():
        if "record" in rule:
            names[rule["record"]] = {"model_name"}
    return names


def names_in(query: str) -> set[str]:
    return set(_NAME.findall(re.sub(r"\{[^}]*\}", "", query)))


def labels_in(query: str) -> Iterator[tuple[str, str]]:
    """(metric, label) of every matcher."""
    for name, matchers in _SELECTOR.findall(query):
        for label in re.findall(r"(\w+)\s*(?:=~|!~|!=|=)", matchers):
            yield name, label


def groupings_in(query: str) -> set[str]:
    """Labels by which a query groups or joins."""
    found = (part.strip() for part in ",".join(_GROUPING.findall(query)).split(","))
    return {label for label in found if label}
