"""Accounting of pages: none held twice, none lost, prefixes shared, room given up when needed."""

from __future__ import annotations

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from inference.engine.kv_cache.page_pool import SCRATCH_PAGE
from inference.engine.kv_cache.pages import PagedAccounting
from inference.engine.prefix_keys import PrefixKeys
from inference.engine.tiling import TILE

PAGE = 2 * TILE


def keys_of(tokens: list[int], tenant: str = "") -> list[bytes]:
    """The names of the whole blocks of a prompt, without the block of its last token."""
    names = PrefixKeys(tenant, len(tokens))
    return names.up_to(len(tokens) - 1, lambda start, end: tokens[start:end])


def fill(
    cache: PagedAccounting, tokens: list[int], tenant: str = "", *, ends: bool = True
) -> tuple[int, int]:
    """A prompt computed and published; its slot and how many tokens were there already."""
    keys = keys_of(tokens, tenant)
    place = cache.allocate(len(tokens), keys)
    assert place is not None
    cache.publish(place.slot, keys)
    if ends:
        cache.free(place.slot)
    return place.slot, place.num_cached


def test_a_sequence_grows_page_by_page() -> None:
    cache = PagedAccounting(num_slots=2, num_pages=4, page=PAGE)
    place = cache.allocate(1)
    assert place is not None
    assert (place.slot, place.room, place.num_cached) == (0, PAGE, 0)
    assert cache.grow(place.slot, PAGE) == PAGE
    assert cache.grow(place.slot, PAGE + 1) == 2 * PAGE
    assert list(cache.table(place.slot)) == [1, 2]
    assert cache.grow(place.slot, 9 * PAGE) == 2 * PAGE, "what does not fit changes nothing"
    cache.free(place.slot)
    assert cache.pool.num_available == 4


def test_a_page_is_kept_back_for_those_who_run() -> None:
    cache = PagedAccounting(num_slots=4, num_pages=3, page=PAGE)
    first = cache.allocate(PAGE)
    assert first is not None
    assert cache.allocate(2 * PAGE) is None
    assert cache.grow(first.slot, 2 * PAGE) == 2 * PAGE


def test_equal_prompts_share_their_full_pages() -> None:
    cache = PagedAccounting(num_slots=3, num_pages=9, page=PAGE)
    prompt = list(range(2 * PAGE + 5))
    first, cached = fill(cache, prompt, ends=False)
    assert cached == 0
    second, cached = fill(cache, prompt, ends=False)
    assert cached == 2 * PAGE
    assert cache.table(first)[:2] == cache.table(second)[:2]
    assert cache.table(first)[2] != cache.table(second)[2]
    assert cache.private_pages(first, len(prompt)) == [cache.table(first)[2]]


def test_the_last_token_of_a_prompt_is_never_shared() -> None:
    cache = PagedAccounting(num_slots=2, num_pages=4, page=PAGE)
    prompt = list(range(PAGE))
    fill(cache, prompt)
    assert fill(cache, prompt)[1] == 0
    assert fill(cache, [*prompt, 7])[1] == 0, "its page was not full before its last token"
    assert fill(cache, [*prompt, 7])[1] == PAGE


def test_tenants_share_nothing() -> None:
    cache = PagedAccounting(num_slots=2, num_pages=8, page=PAGE)
    prompt = list(range(PAGE + 1))
    fill(cache, prompt, "a")
    assert cache.match(keys_of(prompt, "b")) == 0
    assert fill(cache, prompt, "b")[1] == 0
    assert fill(cache, prompt, "a")[1] == PAGE


def test_a_page_after_another_beginning_is_another_page() -> None:
    cache = PagedAccounting(num_slots=2, num_pages=8, page=PAGE)
    fill(cache, [1] * PAGE + [2] * PAGE + [3])
    assert cache.match(keys_of([4] * PAGE + [2] * PAGE + [3])) == 0


def test_idle_pages_go_the_longest_unused_first_and_the_end_before_the_beginning() -> None:
    cache = PagedAccounting(num_slots=2, num_pages=4, page=PAGE)
    old, new = [1] * (2 * PAGE + 1), [2] * (PAGE + 1)
    fill(cache, old)
    fill(cache, new)
    assert cache.match(keys_of(old)) == 2 * PAGE, "free pages are used up first"
    place = cache.allocate(2 * PAGE)
    assert place is not None
    assert cache.match(keys_of(old)) == PAGE
    assert cache.match(keys_of(new)) == PAGE


def test_shared_idle_pages_do_not_count_as_room() -> None:
    cache = PagedAccounting(num_slots=2, num_pages=2, page=PAGE)
    prompt = [1] * (PAGE + 1)
    fill(cache, prompt)
    assert cache.allocate(2 * PAGE + 1, keys_of([1] * (2 * PAGE + 1))) is None
    assert fill(cache, prompt)[1] == PAGE


def test_what_went_wrong_is_never_reused() -> None:
    cache = PagedAccounting(num_slots=2, num_pages=4, page=PAGE)
    prompt = [1] * (PAGE + 1)
    slot, _ = fill(cache, prompt, ends=False)
    cache.forget(slot)
    cache.free(slot)
    assert cache.match(keys_of(prompt)) == 0
    slot, _ = fill(cache, prompt)
    cache.forget(slot)
    assert cache.match(keys_of(prompt)) == 0, "nor after the slot was given back"
    fill(cache, prompt)
    cache.forget_all()
    assert cache.match(keys_of(prompt)) == 0
    assert cache.pool.num_available == 4


def test_wrong_use_is_an_error() -> None:
    cache = PagedAccounting(num_slots=1, num_pages=1, page=PAGE)
    with pytest.raises(RuntimeError, match="slot 0 is not taken"):
        cache.free(0)
    with pytest.raises(ValueError, match="no multiple"):
        PagedAccounting(1, 1, page=TILE + 1)
    with pytest.raises(ValueError, match="0 pages"):
        PagedAccounting(1, 0)
    with pytest.raises(RuntimeError, match="not held"):
        cache.pool.release(1)
    with pytest.raises(RuntimeError, match="not held"):
        cache.pool.publish(1, b"key")
    cache.pool.take()
    with pytest.raises(RuntimeError, match="no page is left"):
        cache.pool.take()


class AnyUse(RuleBasedStateMachine):
    """Sequences that come, grow, publish, go wrong and go, in any order."""

    @initialize(num_pages=st.integers(1, 9), num_slots=st.integers(1, 4))
    def start(self, num_pages: int, num_slots: int) -> None:
        self.cache = PagedAccounting(num_slots, num_pages, page=PAGE)
        self.running: dict[int, list[int]] = {}

    @rule(
        kind=st.integers(0, 2),
        num_tokens=st.integers(1, 4 * PAGE),
        tenant=st.sampled_from(["a", "b"]),
    )
    def admit(self, kind: int, num_tokens: int, tenant: str) -> None:
        tokens = [kind] * num_tokens
        keys = keys_of(tokens, tenant)
        known = self.cache.match(keys)
        place = self.cache.allocate(num_tokens, keys)
        if place is None:
            assert self.running or num_tokens > self.cache.num_token_places
            return
        assert place.num_cached == known
        assert place.num_cached < num_tokens <= place.room
        self.running[place.slot] = tokens
        self.cache.publish(place.slot, keys)

    @precondition(lambda self: self.running)
    @rule(data=st.data(), more=st.integers(1, 2 * PAGE))
    def grow(self, data: st.DataObject, more: int) -> None:
        slot = data.draw(st.sampled_from(sorted(self.running)))
        before = list(self.cache.table(slot))
        total = len(self.running[slot]) + more
        if self.cache.grow(slot, total) >= total:
            self.running[slot] = self.running[slot] + [9] * more
        else:
            assert list(self.cache.table(slot)) == before
        assert list(self.cache.table(slot))[: len(before)] == before

    @precondition(lambda self: self.running)
    @rule(data=st.data(), goes_wrong=st.booleans())
    def end(self, data: st.DataObject, goes_wrong: bool) -> None:
        slot = data.draw(st.sampled_from(sorted(self.running)))
        if goes_wrong:
            self.cache.forget(slot)
        self.cache.free(slot)
        del self.running[slot]

    @rule()
    def run_short_of_memory(self) -> None:
        self.cache.forget_all()

    @invariant()
    def every_page_is_accounted_for(self) -> None:
        if not hasattr(self, "cache"):
            return
        pool = self.cache.pool
        tables = [list(self.cache.table(slot)) for slot in self.running]
        held = {page for table in tables for page in table}
        assert SCRATCH_PAGE not in held
        assert all(len(set(table)) == len(table) for table in tables)
        assert pool.num_held == len(held)
        for page in held:
            assert pool.num_owners(page) == sum(page in table for table in tables)
        assert pool.num_available == pool.num_pages - len(held)
        assert self.cache.num_free == self.cache.num_slots - len(self.running)

    def teardown(self) -> None:
        if hasattr(self, "cache"):
            for slot in self.running:
                self.cache.free(slot)
            assert self.cache.pool.num_available == self.cache.pool.num_pages


TestAnyUse = AnyUse.TestCase
