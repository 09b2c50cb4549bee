"""Whose turn it is: priority, then a fair share for every caller, then arrival."""

from __future__ import annotations

import contextlib
import random
from collections import Counter

import pytest

from inference.engine.errors import RequestError
from inference.engine.fair_queue import FairQueue
from inference.engine.sequence import Sequence, SequenceState
from tests.inference.engine.sequences import finish_when_done, make_scheduler, make_sequence, run

COST = 10


def add(queue: FairQueue, name: str, tenant: str, priority: int = 0) -> Sequence:
    sequence = make_sequence(name, 1, tenant=tenant, priority=priority)
    queue.add(sequence)
    return sequence


def serve(queue: FairQueue, count: int, cost: int = COST) -> list[str]:
    """Take `count` sequences, each of which costs its tenant `cost` tokens."""
    taken = []
    for _ in range(count):
        sequence = queue.peek()
        assert sequence is not None
        queue.take(sequence)
        sequence.move_to(SequenceState.PREFILLING)
        queue.charge(sequence.tenant, cost)
        taken.append(sequence.request_id)
    return taken


def test_one_tenant_is_served_in_the_order_of_arrival() -> None:
    queue = FairQueue()
    for name in "abc":
        add(queue, name, "alice")
    assert serve(queue, 3) == ["a", "b", "c"]
    assert queue.peek() is None


def test_priority_goes_before_fairness() -> None:
    queue = FairQueue()
    add(queue, "low", "alice", priority=-1)
    queue.charge("bob", 10_000)
    add(queue, "high", "bob", priority=3)
    add(queue, "middle", "alice")
    assert serve(queue, 3) == ["high", "middle", "low"]


def test_a_hundred_requests_of_one_do_not_delay_the_one_of_another() -> None:
    queue = FairQueue()
    for index in range(100):
        add(queue, f"a{index}", "alice")
    serve(queue, 20)
    add(queue, "b", "bob")
    assert "b" in serve(queue, 2)


def test_tenants_take_turns_by_tokens_not_by_requests() -> None:
    queue = FairQueue()
    for index in range(60):
        add(queue, f"a{index}", "alice")
        add(queue, f"b{index}", "bob")
    tokens: Counter[str] = Counter()
    for _ in range(60):
        (name,) = serve(queue, 1, cost=0)
        tenant, cost = ("alice", 100) if name[0] == "a" else ("bob", 25)
        queue.charge(tenant, cost)
        tokens[tenant] += cost
    assert abs(tokens["alice"] - tokens["bob"]) <= 100


def test_being_away_earns_no_credit() -> None:
    queue = FairQueue()
    add(queue, "early", "bob")
    serve(queue, 1)
    for index in range(50):
        add(queue, f"a{index}", "alice")
    serve(queue, 40)
    for index in range(10):
        add(queue, f"b{index}", "bob")
    # Bob was away for 400 tokens: he gets his turn now, but not ten of them.
    names = serve(queue, 10)
    assert Counter(name[0] for name in names) == {"a": 5, "b": 5}


def test_using_an_idle_machine_costs_nothing_later() -> None:
    queue = FairQueue()
    for index in range(30):
        add(queue, f"a{index}", "alice")
        serve(queue, 1, cost=1000)
        queue.rest()
    for index in range(10):
        add(queue, f"b{index}", "bob")
        add(queue, f"c{index}", "alice")
    names = serve(queue, 10)
    assert Counter(name[0] for name in names)["c"] == 5


def test_who_was_preempted_keeps_his_place_by_arrival() -> None:
    queue = FairQueue()
    first, _, third = (add(queue, name, "alice") for name in "abc")
    serve(queue, 1)
    first.move_to(SequenceState.WAITING)
    queue.add(first)
    assert serve(queue, 1) == ["a"]
    first.move_to(SequenceState.FINISHED)
    assert serve(queue, 1) == ["b"]
    assert queue.peek() is third


def test_who_ends_while_waiting_is_passed_over() -> None:
    queue = FairQueue()
    sequences = [add(queue, str(index), "alice") for index in range(300)]
    for sequence in sequences:
        if int(sequence.request_id) % 3:
            sequence.move_to(SequenceState.FINISHED)
            queue.bury(sequence)
    assert serve(queue, 100) == [str(index) for index in range(0, 300, 3)]
    assert queue.peek() is None


def test_the_dead_do_not_pile_up() -> None:
    queue = FairQueue()
    keeper = add(queue, "keeper", "alice")
    for index in range(5000):
        sequence = add(queue, str(index), "alice")
        sequence.move_to(SequenceState.FINISHED)
        queue.bury(sequence)
    assert len(queue._accounts["alice"].lines[0].heap) < 500
    assert queue.peek() is keeper


def test_accounts_of_those_who_left_do_not_pile_up() -> None:
    queue = FairQueue()
    for index in range(5000):
        add(queue, str(index), f"tenant {index}")
        serve(queue, 1)
    assert len(queue._accounts) <= 1024


def test_any_order_of_events_serves_everyone_once() -> None:
    source = random.Random(3)  # noqa: S311
    queue = FairQueue()
    waiting: dict[str, Sequence] = {}
    served: list[str] = []
    for index in range(3000):
        action = source.random()
        if action < 0.5:
            tenant, priority = f"t{source.randrange(7)}", source.randrange(3)
            waiting[str(index)] = add(queue, str(index), tenant, priority)
        elif action < 0.6 and waiting:
            victim = waiting.pop(source.choice(sorted(waiting)))
            victim.move_to(SequenceState.FINISHED)
            queue.bury(victim)
        elif waiting:
            best = max(sequence.priority for sequence in waiting.values())
            (name,) = serve(queue, 1, cost=source.randrange(50))
            assert waiting.pop(name).priority == best
            served.append(name)
    served += serve(queue, len(waiting))
    assert queue.peek() is None
    assert len(served) == len(set(served))


def test_a_single_request_passes_a_hundred_of_another_caller_in_the_scheduler() -> None:
    scheduler = make_scheduler(num_slots=2, max_waiting=1000)
    for index in range(100):
        scheduler.add(make_sequence(f"a{index}", 20, tenant="alice"))
    for _ in range(12):
        run(scheduler)
        finish_when_done(scheduler)
    bob = make_sequence("b", 20, tenant="bob")
    scheduler.add(bob)
    # One round of the two that run now: eight tokens each.
    for _ in range(10):
        run(scheduler)
        finish_when_done(scheduler)
    assert bob.state is not SequenceState.WAITING


def test_a_queue_that_one_has_filled_still_takes_the_share_of_another() -> None:
    scheduler = make_scheduler(num_slots=1, max_waiting=10)
    scheduler.add(make_sequence("running", 5, tenant="alice"))
    run(scheduler)
    for index in range(10):
        scheduler.add(make_sequence(f"a{index}", 5, tenant="alice"))
    with pytest.raises(RequestError):
        scheduler.add(make_sequence("a10", 5, tenant="alice"))
    for index in range(5):
        scheduler.add(make_sequence(f"b{index}", 5, tenant="bob"))
    with pytest.raises(RequestError):
        scheduler.add(make_sequence("b5", 5, tenant="bob"))
    for index in range(1000):
        with contextlib.suppress(RequestError):
            scheduler.add(make_sequence(f"c{index}", 5, tenant=f"sock puppet {index}"))
    assert scheduler.num_waiting <= 20
