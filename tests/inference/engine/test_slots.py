"""Places of the slotted cache: who gets which, and whose contents are found again."""

from __future__ import annotations

import random

import pytest

from inference.engine.kv_cache.base import Place
from inference.engine.kv_cache.slots import SPAN_PER_DECODE, SlotPool
from inference.engine.prefix_keys import PrefixKeys
from inference.engine.tiling import TILE

LENGTH = 1024


def keys_of(
    token_ids: list[int], tenant: str = "alice", num_prompt: int | None = None
) -> list[bytes]:
    keys = PrefixKeys(tenant, num_prompt)
    return keys.up_to(len(token_ids), lambda start, end: token_ids[start:end])


def take(pool: SlotPool, keys: list[bytes] | tuple[()] = ()) -> Place:
    place = pool.allocate(1, keys)
    assert place is not None
    return place


def fill(pool: SlotPool, token_ids: list[int]) -> int:
    """A free slot that holds `token_ids`."""
    slot = take(pool).slot
    pool.publish(slot, keys_of(token_ids))
    pool.free(slot)
    return slot


def test_empty_slots_are_given_out_lowest_first() -> None:
    pool = SlotPool(3, LENGTH)
    assert [take(pool).slot for _ in range(3)] == [0, 1, 2]
    assert pool.num_free == 0
    assert pool.allocate(1) is None


def test_what_is_longer_than_a_slot_gets_none() -> None:
    pool = SlotPool(3, LENGTH)
    assert pool.allocate(LENGTH + 1) is None
    place = pool.allocate(LENGTH)
    assert place is not None
    assert place.room == pool.grow(place.slot, LENGTH) == LENGTH


def test_a_slot_is_given_back_only_once() -> None:
    pool = SlotPool(3, LENGTH)
    slot = take(pool).slot
    pool.free(slot)
    with pytest.raises(RuntimeError, match="not taken"):
        pool.free(slot)


def test_who_begins_alike_moves_into_the_slot_that_was_given_back() -> None:
    pool = SlotPool(4, LENGTH)
    history = list(range(300))
    slot = fill(pool, history)
    keys = keys_of([*history, *range(50)])
    assert pool.match(keys) == 256
    assert take(pool, keys) == Place(slot, LENGTH, num_cached=256)


def test_other_tenants_find_nothing() -> None:
    pool = SlotPool(4, LENGTH)
    fill(pool, list(range(300)))
    keys = keys_of(list(range(300)), tenant="bob")
    assert pool.match(keys) == 0
    assert take(pool, keys).num_cached == 0


def test_a_slot_in_use_is_copied_from() -> None:
    pool = SlotPool(4, LENGTH)
    source = take(pool).slot
    pool.publish(source, keys_of(list(range(200))))
    place = take(pool, keys_of(list(range(200))))
    assert (place.copy_from, place.num_cached) == (source, 192)
    assert place.slot != source


def test_a_conversation_is_copied_from_where_only_its_beginning_is_shared() -> None:
    pool = SlotPool(4, LENGTH)
    long = list(range(900))
    slot = fill(pool, long)
    place = take(pool, keys_of([*range(128), *range(5000, 5100)]))
    assert (place.copy_from, place.num_cached) == (slot, 128)
    # The conversation is still there as a whole.
    assert pool.match(keys_of(long)) == 896


def test_the_last_free_slot_is_taken_over_whatever_it_holds() -> None:
    pool = SlotPool(1, LENGTH)
    fill(pool, list(range(900)))
    place = take(pool, keys_of([*range(128), *range(5000, 5100)]))
    assert (place.slot, place.num_cached, place.copy_from) == (0, 128, None)
    assert pool.match(keys_of(list(range(900)))) == 128


def test_a_slot_forgets_what_its_next_owner_overwrites() -> None:
    pool = SlotPool(1, LENGTH)
    fill(pool, list(range(300)))
    take(pool)
    assert pool.match(keys_of(list(range(300)))) == 0


def test_the_longest_unused_contents_go_first() -> None:
    pool = SlotPool(3, LENGTH)
    taken = [take(pool).slot for _ in range(3)]
    for slot in taken:
        pool.publish(slot, keys_of([slot] * 64))
    for slot in (1, 0, 2):
        pool.free(slot)
    order = []
    for _ in range(3):
        order.append(take(pool).slot)
        pool.free(order[-1])
        pool.forget(order[-1])
    # What was emptied is used again before contents are lost.
    assert order == [1, 1, 1]
    assert [pool.match(keys_of([slot] * 64)) for slot in range(3)] == [64, 0, 64]


def test_what_went_wrong_is_never_found_again() -> None:
    pool = SlotPool(2, LENGTH)
    slot = take(pool).slot
    pool.publish(slot, keys_of(list(range(300))))
    pool.forget(slot)
    pool.free(slot)
    assert pool.match(keys_of(list(range(300)))) == 0
    assert slot in pool.idle_slots()


def test_everything_can_be_forgotten_at_once() -> None:
    pool = SlotPool(4, LENGTH)
    for start in (0, 1000, 2000):
        fill(pool, list(range(start, start + 200)))
    held = take(pool).slot
    pool.forget_all()
    assert pool.match(keys_of(list(range(200)))) == 0
    assert sorted([*pool.idle_slots(), held]) == [0, 1, 2, 3]
    # Who runs goes on, and what is computed from now on is found.
    pool.publish(held, keys_of(list(range(200))))
    assert pool.match(keys_of(list(range(200)))) == 192


def test_slots_in_use_stay_dense_whatever_is_kept() -> None:
    source = random.Random(7)  # noqa: S311
    pool = SlotPool(64, LENGTH)
    taken: list[int] = []
    for step in range(3000):
        if taken and (source.random() < 0.5 or pool.num_free == 0):
            slot = taken.pop(source.randrange(len(taken)))
            pool.publish(slot, keys_of([step] * 64))
            pool.free(slot)
        elif len(taken) < 8:
            before = max(taken) - min(taken) + 1 if taken else 0
            taken.append(take(pool).slot)
            span = max(taken) - min(taken) + 1
            # A newcomer never makes a dense set sparse.
            assert span <= max(before, SPAN_PER_DECODE * len(taken))


def test_names_differ_by_tenant_by_order_and_by_everything_before() -> None:
    block, other = list(range(TILE)), list(range(1, TILE + 1))
    names = {
        keys_of(block)[0],
        keys_of(block, tenant="bob")[0],
        keys_of(block[::-1])[0],
        keys_of(other)[0],
        keys_of(block + block)[1],
        keys_of(other + block)[1],
    }
    assert len(names) == 6


def test_names_tell_what_was_decoded_from_what_was_prompt() -> None:
    tokens = list(range(3 * TILE))
    whole, cut = keys_of(tokens), keys_of(tokens, num_prompt=TILE + 5)
    assert whole[0] == cut[0]
    assert whole[1] != cut[1]
    assert keys_of(tokens, num_prompt=TILE + 6)[1] not in (whole[1], cut[1])


def test_names_grow_with_the_sequence() -> None:
    tokens = list(range(5 * TILE))
    keys = PrefixKeys("alice", None)
    read = lambda start, end: tokens[start:end]  # noqa: E731
    assert keys.up_to(TILE - 1, read) == []
    assert [keys.up_to(count, read) for count in (2 * TILE, 4 * TILE + 3, TILE)] == [
        keys_of(tokens)[:2],
        keys_of(tokens)[:4],
        keys_of(tokens)[:1],
    ]
