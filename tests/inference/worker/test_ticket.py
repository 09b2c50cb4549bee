"""How the events of one request reach whoever asked for it."""

from __future__ import annotations

import queue

import pytest

from inference.protocol import Delta, Finished, FinishReason, Started, Timings, Usage
from inference.worker.engine_process import EngineDiedError, Relay, Ticket

STARTED, DELTA = Started("r", 3, 0.0), Delta("r", "a", 1)
END = Finished("r", "a", FinishReason.STOP, Usage(3, 1), Timings())


def put_all(ticket: Ticket) -> None:
    for event in (STARTED, DELTA, END):
        ticket.put(event)


def test_all_events_come_in_order() -> None:
    ticket = Ticket("r")
    put_all(ticket)
    assert [ticket.next_event(1) for _ in range(3)] == [STARTED, DELTA, END]


def test_with_a_relay_only_the_last_one_is_left_to_wait_for() -> None:
    relayed: list[Started | Delta] = []
    ticket = Ticket("r", relayed.append)
    put_all(ticket)
    assert relayed == [STARTED, DELTA]
    assert ticket.next_event(1) == END


def test_a_relay_that_fails_is_told_to_its_own_request_alone() -> None:
    calls: list[Started | Delta] = []

    def fail(event: Started | Delta) -> None:
        calls.append(event)
        raise RuntimeError("no room")

    ticket = Ticket("r", fail)
    put_all(ticket)
    with pytest.raises(RuntimeError, match="no room"):
        ticket.next_event(1)
    assert calls == [STARTED], "it is not tried again"
    assert ticket.next_event(1) == END


@pytest.mark.parametrize("relay", [None, lambda event: pytest.fail("it is muted")])
def test_a_muted_ticket_tells_its_end_alone(relay: Relay | None) -> None:
    ticket = Ticket("r", relay)
    ticket.mute()
    if relay is not None:
        put_all(ticket)
        assert ticket.next_event(1) == END
    with pytest.raises(queue.Empty):
        ticket.next_event(0)


def test_a_dead_engine_is_an_error_to_who_waits() -> None:
    ticket = Ticket("r", lambda event: None)
    ticket.put(EngineDiedError("m"))
    with pytest.raises(EngineDiedError):
        ticket.next_event(1)
