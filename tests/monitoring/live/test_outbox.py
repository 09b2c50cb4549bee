"""What waits for a watcher, whatever happens meanwhile."""

from __future__ import annotations

from monitoring.live.outbox import MAX_ANSWERS, MAX_EVENTS, MAX_MISSED, Outbox


def taken(outbox: Outbox[str]) -> list[str]:
    found = []
    while (item := outbox.take()) is not None:
        found.append(item)
    return found


def test_answers_go_first_then_events_in_order_then_the_newest_metrics() -> None:
    outbox: Outbox[str] = Outbox()
    outbox.put_latest("m", "old")
    outbox.put_event("e", "1")
    outbox.put_event("f", "2")
    outbox.put_latest("m", "new")
    outbox.put_answer("a")
    assert taken(outbox) == ["a", "1", "2", "new"]


def test_the_oldest_events_go_and_are_counted_by_stream() -> None:
    outbox: Outbox[str] = Outbox()
    outbox.put_event("e", "first")
    for number in range(MAX_EVENTS + 2):
        outbox.put_event("f", str(number))
    assert len(outbox) == MAX_EVENTS
    assert outbox.take_missed() == {"e": 1, "f": 2}
    assert outbox.take_missed() == {}
    assert taken(outbox)[0] == "2"


def test_one_that_misses_too_much_is_hopeless() -> None:
    outbox: Outbox[str] = Outbox()
    for number in range(MAX_EVENTS + MAX_MISSED):
        outbox.put_event("e", str(number))
    assert not outbox.is_hopeless
    outbox.put_event("e", "one more")
    assert outbox.is_hopeless
    assert len(outbox) == MAX_EVENTS


def test_metrics_alone_never_make_one_hopeless() -> None:
    outbox: Outbox[str] = Outbox()
    for number in range(100_000):
        outbox.put_latest("m", str(number))
    assert (len(outbox), outbox.is_hopeless) == (1, False)


def test_one_that_asks_without_reading_is_hopeless() -> None:
    outbox: Outbox[str] = Outbox()
    for number in range(MAX_ANSWERS + 1):
        outbox.put_answer(str(number))
    assert outbox.is_hopeless
    assert len(outbox) == MAX_ANSWERS


def test_what_is_left_is_forgotten() -> None:
    outbox: Outbox[str] = Outbox()
    outbox.put_event("e", "1")
    outbox.put_event("f", "2")
    outbox.put_latest("e", "3")
    outbox.miss("e")
    outbox.forget("e")
    assert outbox.take_missed() == {}
    assert taken(outbox) == ["2"]
