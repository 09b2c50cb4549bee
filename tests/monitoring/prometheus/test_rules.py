"""Rules, alerts and dashboards: right for Prometheus itself, and about metrics that there are."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.monitoring.prometheus.queries import (
    exported,
    groupings_in,
    labels_in,
    names_in,
    panels,
    rules,
    variables,
)
from tests.prometheus import CONFIG, program


def promtool(*arguments: str) -> str:
    ended = subprocess.run(
        [program("promtool"), *arguments], capture_output=True, text=True, check=False
    )
    said = ended.stdout + ended.stderr
    assert ended.returncode == 0, said
    return said


def test_promtool_finds_nothing_wrong() -> None:
    promtool("check", "config", "--syntax-only", str(CONFIG / "prometheus.yml"))
    said = promtool("check", "rules", str(CONFIG / "rules.yml"), str(CONFIG / "alerts.yml"))
    assert said.count("SUCCESS") == 2


def test_alerts_fire_when_they_shall(tmp_path: Path) -> None:
    cases = (Path(__file__).parent / "alerts_test.yml").read_text()
    for word in ("rules", "alerts"):
        cases = cases.replace(word.upper(), str(CONFIG / f"{word}.yml"))
    (tmp_path / "cases.yml").write_text(cases)
    assert "SUCCESS" in promtool("test", "rules", str(tmp_path / "cases.yml"))


QUERIES = [*panels(), *((rule.get("record") or rule["alert"], rule["expr"]) for rule in rules())]


@pytest.mark.parametrize(("where", "query"), QUERIES)
def test_a_query_names_what_is_exported(where: str, query: str) -> None:
    known, names = exported(), names_in(query)
    assert names, "a query about nothing"
    assert names <= known.keys()
    assert [(name, label) for name, label in labels_in(query) if label not in known[name]] == []
    assert groupings_in(query) <= set[str]().union(*(known[name] for name in names))


@pytest.mark.parametrize(("where", "metric", "label"), list(variables()))
def test_a_variable_asks_for_a_label_that_there_is(where: str, metric: str, label: str) -> None:
    assert label in exported()[metric]


def test_a_wrong_name_would_be_found() -> None:
    assert names_in('rate(llamagpu_gone_total{a="b"}[5m])') == {"llamagpu_gone_total"}
    assert list(labels_in('llamagpu_workers{zone=~"a"}')) == [("llamagpu_workers", "zone")]
    assert groupings_in("sum by (a, b) (up) / on(c) up") == {"a", "b", "c"}


def test_every_alert_says_what_it_means() -> None:
    for rule in rules():
        if "alert" in rule:
            assert rule["labels"]["severity"] in {"critical", "warning"}
            assert rule["annotations"].keys() == {"summary", "description"}
