from __future__ import annotations

from llamagpu.lib.setting_fields import SETTING_FIELDS
from llamagpu.lib.setting_kinds import Whole
from plugins_app.breaker import Breaker
from plugins_app.lineup import LONGEST, Lineups
from plugins_app.link import Link
from tests.plugins_app.test_link import SPEC, Notes, Scripted


def make_link() -> Link:
    return Link(SPEC, Scripted(SPEC), Breaker(), Notes())


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_a_request_keeps_what_it_began_with() -> None:
    freed: list[str] = []
    lineups = Lineups(lambda: freed.append("now"))
    old, new = make_link(), make_link()
    lineups.replace([old])
    with lineups.lease() as held:
        lineups.replace([new])
        assert held == (old,)
        assert lineups.runners_in_use() == {old.runner, new.runner}
        with lineups.lease() as later:
            assert later == (new,)
        assert freed == []
    assert freed == ["now"]
    assert lineups.runners_in_use() == {new.runner}


def test_a_lease_of_the_line_up_of_now_frees_nothing() -> None:
    freed: list[str] = []
    lineups = Lineups(lambda: freed.append("now"))
    with lineups.lease():
        pass
    assert freed == []


def test_one_that_is_never_given_back_is_given_up() -> None:
    clock = Clock()
    lineups = Lineups(lambda: None, longest=60.0, clock=clock)
    old = make_link()
    lineups.replace([old])
    lineups.lease().__enter__()
    lineups.replace([])
    clock.now = 59.0
    assert lineups.runners_in_use() == {old.runner}
    clock.now = 61.0
    assert lineups.runners_in_use() == set()


def test_a_lease_is_given_back_by_a_request_that_fails() -> None:
    lineups = Lineups(lambda: None)
    old = make_link()
    lineups.replace([old])
    try:
        with lineups.lease():
            lineups.replace([])
            raise ValueError
    except ValueError:
        pass
    assert lineups.runners_in_use() == set()


def test_it_is_kept_for_longer_than_a_request_may_take() -> None:
    (field,) = (field for field in SETTING_FIELDS if field.name == "job_timeout")
    assert isinstance(field.kind, Whole)
    assert field.kind.high < LONGEST
