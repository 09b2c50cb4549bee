"""Text comes out whole: characters, stop strings, and nothing taken back."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inference.engine.detokenizer import TextAssembler
from tests.inference.engine.tiny_models import byte_tokenizer

BYTES = byte_tokenizer()
ALPHABET = BYTES.get_vocab()
SAMPLES = [
    "plain",
    "naïve café",
    "日本語のテキスト",
    "👩‍👩‍👧‍👦 and 🇫🇷!",
    "a\u0301\u200d",
    "\ufffd real",
]


def decode(ids: Sequence[int]) -> str:
    text: str = BYTES.decode(list(ids), skip_special_tokens=True)
    return text


def ids_of(text: str) -> list[int]:
    ids: list[int] = BYTES.encode(text).ids
    return ids


def feed(assembler: TextAssembler, ids: Sequence[int]) -> list[str]:
    """The pieces of a whole generation, the last one from `finish`."""
    pieces = []
    for token_id in ids:
        pieces.append(assembler.push(token_id))
        if assembler.is_stopped:
            break
    pieces.append(assembler.finish())
    assert assembler.text == "".join(pieces)
    return pieces


@pytest.mark.parametrize("text", SAMPLES)
def test_a_character_of_many_tokens_comes_out_whole(text: str) -> None:
    pieces = feed(TextAssembler(decode), ids_of(text))
    assert "".join(pieces) == text
    for piece in pieces:
        assert "\ufffd" not in piece or "\ufffd" in text


@given(st.text(max_size=40))
def test_any_text_survives(text: str) -> None:
    ids = ids_of(text)
    pieces = feed(TextAssembler(decode), ids)
    shown = "".join(pieces)
    # Marks at the very end cannot be told from a character cut off, and are dropped as one.
    assert shown.rstrip("\ufffd") == text.rstrip("\ufffd")
    assert len(text) - len(shown) <= 3


@given(st.lists(st.integers(0, 255), max_size=60))
def test_bytes_of_no_character_are_shown_as_marks_and_stop_nothing(ids: list[int]) -> None:
    assembler = TextAssembler(decode)
    shown = "".join(feed(assembler, ids))
    whole = decode(ids)
    assert whole.startswith(shown)
    assert set(whole[len(shown) :]) <= {"\ufffd"}
    assert len(whole) - len(shown) <= 3


def test_a_character_cut_off_by_the_end_is_dropped() -> None:
    ids = ids_of("ok 🙂")
    assert "".join(feed(TextAssembler(decode), ids[:-1])) == "ok "


def test_special_tokens_are_no_text() -> None:
    end = BYTES.token_to_id("<end>")
    assert "".join(feed(TextAssembler(decode), [*ids_of("a"), end, *ids_of("b")])) == "ab"


@pytest.mark.parametrize(
    ("text", "stop", "shown"),
    [
        ("hello world", ("wor",), "hello "),
        ("hello", ("hello",), ""),
        ("aaab", ("aab",), "a"),
        ("abcabd", ("abd", "zz"), "abc"),
        ("one two", ("two", "one"), ""),
        ("almost there", ("there!",), "almost there"),
        ("日本語", ("語",), "日本"),
        ("END", ("",), "END"),
        ("overlapping", ("lapp", "verl"), "o"),
    ],
)
def test_a_stop_string_and_what_follows_are_no_text(
    text: str, stop: tuple[str, ...], shown: str
) -> None:
    assembler = TextAssembler(decode, stop)
    assert "".join(feed(assembler, ids_of(text))) == shown
    assert assembler.is_stopped == (shown != text)


def test_text_that_may_begin_a_stop_string_waits() -> None:
    assembler = TextAssembler(decode, ("<stop>",))
    pieces = [assembler.push(token_id) for token_id in ids_of("a<sto-")]
    assert pieces == ["a", "", "", "", "", "<sto-"]


def test_stop_strings_are_ordinary_text_until_they_count() -> None:
    assembler = TextAssembler(decode, ("b",))
    shown = [
        assembler.push(token_id, check_stop=index > 2)
        for index, token_id in enumerate(ids_of("abcabc"))
    ]
    assert "".join(shown) == "abca"
    assert assembler.is_stopped


@given(
    st.text(alphabet="ab", max_size=30),
    st.lists(st.text(alphabet="ab", min_size=1, max_size=4), min_size=1, max_size=3),
)
def test_stopping_equals_cutting_at_the_first_completed_stop_string(
    text: str, stop: list[str]
) -> None:
    shown = "".join(feed(TextAssembler(decode, stop), ids_of(text)))
    ends = [end for end in range(len(text) + 1) if any(text[:end].endswith(s) for s in stop)]
    if not ends:
        assert shown == text
        return
    first = text[: ends[0]]
    assert shown == first[: min(first.index(s) for s in stop if s in first)]


def test_words_that_depend_on_their_left_neighbour_keep_their_spaces() -> None:
    words = {1: "▁Hello", 2: "▁big", 3: "▁world", 4: "!"}

    def sentencepiece(ids: Sequence[int]) -> str:
        return "".join(words[i] for i in ids).replace("▁", " ").removeprefix(" ")

    assert "".join(feed(TextAssembler(sentencepiece), [1, 2, 3, 4])) == "Hello big world!"


def test_the_cost_of_a_token_does_not_grow_with_the_text() -> None:
    longest = 0

    def counting(ids: Sequence[int]) -> str:
        nonlocal longest
        longest = max(longest, len(ids))
        return decode(ids)

    feed(TextAssembler(counting), ids_of("日本語 text 🙂 " * 50))
    assert longest <= 12
