"""When a rule fires and when an alert is over, on a clock of the test's own."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field

from monitoring.alerts.evaluator import CALM, GONE, LONGEST_PAUSE, MOST_FIRING, Changes, Evaluator
from monitoring.alerts.labels import fingerprint
from monitoring.alerts.readings import Found


@dataclass
class Rule:
    pk: int = 1
    metric: str = "heat"
    labels: dict[str, str] = field(default_factory=dict)
    comparison: str = ">"
    threshold: float = 10.0
    duration: int = 5
    window: int = 60
    quantile: float = 0.95


class Portal:
    """Rounds at one-second distances; remembers what fires as the table does."""

    def __init__(self, rule: Rule) -> None:
        self.rule = rule
        self.evaluator = Evaluator()
        self.now = 1000.0
        self.firing: set[str] = set()

    def round(self, *values: float, step: float = 1.0) -> Changes:
        found = [Found({"gpu": str(place)}, value) for place, value in enumerate(values)]
        return self.see(found, step)

    def see(self, found: Collection[Found], step: float = 1.0) -> Changes:
        self.now += step
        changes = Changes()
        self.evaluator.begin(self.now)
        self.evaluator.judge(self.rule, found, self.firing, self.now, changes)
        self.evaluator.end(self.now)
        self.firing |= {one.fingerprint for one in changes.firing}
        self.firing -= set(changes.over)
        return changes


def test_a_condition_fires_once_when_it_has_held_for_its_duration() -> None:
    portal = Portal(Rule(duration=5))
    portal.round(1)
    states = [portal.round(20) for _ in range(8)]
    assert [len(changes.firing) for changes in states] == [0, 0, 0, 0, 0, 1, 0, 0]
    assert [round(changes.pending[0].held) for changes in states[:5]] == [0, 1, 2, 3, 4]
    assert states[7].values == {fingerprint(1, {"gpu": "0"}): 20}


def test_a_condition_that_lets_go_begins_anew() -> None:
    portal = Portal(Rule(duration=3))
    for value in (1, 20, 20, 20, 1, 20, 20, 20):
        assert not portal.round(value).firing
    assert portal.round(20).firing


def test_each_series_fires_by_itself() -> None:
    portal = Portal(Rule(duration=0))
    portal.round(1, 1, 1)
    (one,) = portal.round(1, 20, 1).firing
    assert one.labels == {"gpu": "1"}
    (other,) = portal.round(20, 20, 1).firing
    assert other.labels == {"gpu": "0"}


def test_an_alert_is_over_when_it_has_been_calm_for_a_while() -> None:
    portal = Portal(Rule(duration=0))
    portal.round(1)
    portal.round(20)
    for _ in range(int(CALM)):
        assert not portal.round(1).over
    assert portal.round(1).over == [fingerprint(1, {"gpu": "0"})]


def test_a_value_that_flaps_is_one_alert() -> None:
    portal = Portal(Rule(duration=0))
    portal.round(1)
    raised = over = 0
    for place in range(60):
        changes = portal.round(20 if place % 5 == 0 else 1)
        raised += len(changes.firing)
        over += len(changes.over)
    assert (raised, over) == (1, 0)


def test_what_is_measured_no_more_is_over_after_a_while() -> None:
    portal = Portal(Rule(duration=0))
    portal.round(1)
    portal.round(20)
    for _ in range(int(GONE)):
        assert not portal.see([]).over
    assert portal.see([]).over


def test_a_portal_that_starts_is_no_incident() -> None:
    portal = Portal(Rule(comparison="<", threshold=1, duration=2))
    for _ in range(40):
        assert not portal.round(0).firing
    assert not portal.round(1).firing
    assert sum(len(portal.round(0).firing) for _ in range(4)) == 1


def test_what_is_never_well_fires_after_the_first_minute() -> None:
    portal = Portal(Rule(comparison="<", threshold=1, duration=2))
    assert sum(len(portal.round(0).firing) for _ in range(59)) == 0
    assert sum(len(portal.round(0).firing) for _ in range(4)) == 1


def test_after_a_pause_durations_begin_anew() -> None:
    portal = Portal(Rule(duration=20))
    portal.round(1)
    for _ in range(15):
        portal.round(20)
    assert not portal.round(20, step=LONGEST_PAUSE + 10).firing
    for _ in range(30):
        assert not portal.round(20).firing


def test_an_alert_that_fires_outlives_a_pause() -> None:
    portal = Portal(Rule(duration=0))
    portal.round(1)
    portal.round(20)
    changes = portal.round(20, step=1000)
    assert not changes.over
    assert not changes.firing
    assert portal.firing


def test_a_rule_with_too_many_series_fires_for_some_and_says_so() -> None:
    portal = Portal(Rule(duration=0))
    portal.round(*[1.0] * (MOST_FIRING + 7))
    changes = portal.round(*[20.0] * (MOST_FIRING + 7))
    assert (len(changes.firing), changes.suppressed) == (MOST_FIRING, 7)


def test_series_that_are_gone_take_no_memory() -> None:
    portal = Portal(Rule())
    for place in range(500):
        portal.see([Found({"job": str(place)}, 1)])
    assert len(portal.evaluator._tracks) <= GONE + 2
