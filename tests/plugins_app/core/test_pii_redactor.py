"""Personal data in real sentences, whole and in pieces."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from plugins_app.base import Hook, Message, PromptContext
from plugins_app.core.pii_redactor.finders import KINDS
from plugins_app.core.pii_redactor.redaction import Redactor
from plugins_app.runners.base import PluginLoadError
from tests.plugins_app.core.conftest import Running, Start

ALL = Redactor(tuple(KINDS), {}, "[{kind}]")
#: As people write them; the right side is what shall be read.
SENTENCES = [
    ("Write to ada.lovelace+news@mail.example.co.uk, please.", "Write to [EMAIL], please."),
    ("<a@b.io>; (c_d@e-f.org)", "<[EMAIL]>; ([EMAIL])"),
    ("My card is 4111 1111 1111 1111.", "My card is [CARD]."),
    ("Cards: 5500-0000-0000-0004, 340000000000009 end", "Cards: [CARD], [CARD] end"),
    ("Item 2 4111 1111 1111 1111 paid", "Item 2 [CARD] paid"),
    ("Pay to DE89 3704 0044 0532 0130 00 TODAY", "Pay to [IBAN] TODAY"),
    ("GB29NWBK60161331926819, then", "[IBAN], then"),
    ("GB29 NWBK 6016 1331 9268 19 and 12", "[IBAN] and 12"),
    ("host 192.168.0.17 and fe80::1ff:fe23:4567:890a.", "host [IP] and [IP]."),
    ("Call +49 (30) 901820-17 or 030 / 1234567", "Call [PHONE] or [PHONE]"),
    ("Call 555-123-4567 now", "Call [PHONE] now"),
]
INNOCENT = [
    "In 2024 there were 1,234.5 of 10 000 things, from 12:30:45 on.",
    "std::vector<int> a::b; version 1.2.3.4.5; 999.1.1.1",
    "Order 4111 1111 1111 1112 has a wrong check digit.",
    "FR14 2004 1010 0505 0001 3M02 607 is no IBAN",
    "user@localhost, @ada, a@b",
    "Pi is 3.14159265358979323846264338327950288",
    "日本語 👩‍👩‍👧‍👦 é ß",
]


@pytest.mark.parametrize(("text", "expected"), SENTENCES)
def test_personal_data_is_replaced(text: str, expected: str) -> None:
    assert ALL.redact(text) == expected


@pytest.mark.parametrize("text", INNOCENT)
def test_what_is_none_stays(text: str) -> None:
    assert ALL.redact(text) == text


def in_pieces(redactor: Redactor, pieces: list[str]) -> str:
    """As the plugin does it, without its process."""
    shown, held = [], ""
    for piece in pieces:
        held += piece
        cut = redactor.settled(held)
        shown.append(redactor.redact(held[:cut]))
        held = held[cut:]
    return "".join(shown) + redactor.redact(held)


PARTS = [
    *(text for text, _ in SENTENCES), *INNOCENT, " ", "\n", ", ", "4", "(0", "+", "DE89 ", "AB12 CD",
    "4111 1111 ", "x12 345 678 ", "a@b.co", ".uk",
]  # fmt: skip


@settings(max_examples=100)
@given(
    st.lists(st.sampled_from(PARTS), max_size=5).map("".join),
    st.lists(st.integers(0, 200), max_size=12),
)
def test_pieces_come_to_the_same_as_the_whole(text: str, cuts: list[int]) -> None:
    places = sorted({0, len(text), *(cut for cut in cuts if cut < len(text))})
    pieces = [text[a:b] for a, b in pairwise(places)]
    assert in_pieces(ALL, pieces) == ALL.redact(text)
    assert in_pieces(ALL, list(text)) == ALL.redact(text)


def test_prose_is_held_back_by_a_word_at_most(start: Start) -> None:
    out = start("pii_redactor").filtered("Once up", "on a ti", "me", " there")
    assert out == ["Once ", "upon a ", "", "time ", "there"]


def test_data_in_several_pieces_does_not_get_out(start: Start) -> None:
    out = start("pii_redactor").filtered("mail ada@exa", "mple.org or", " 4111 11", "11 1111 1111!")
    assert "".join(out) == "mail [EMAIL] or [CARD]!"


def test_prompts_and_chats_are_redacted(start: Start) -> None:
    redactor = start("pii_redactor", placeholder="***")
    text = redactor.call(Hook.PROMPT, PromptContext("r", "m", "I am a@b.io", None)).text
    assert text == "I am ***"
    chat = PromptContext("r", "m", None, (Message("system", "10.0.0.1"), Message("user", "hi")))
    messages = redactor.call(Hook.PROMPT, chat).messages
    assert [turn.content for turn in messages] == ["***", "hi"]


def test_settings_leave_out_kinds_and_directions(start: Start) -> None:
    redactor = start("pii_redactor", kinds=["ip"], prompt=False)
    context = PromptContext("r", "m", "10.0.0.1", None)
    assert redactor.call(Hook.PROMPT, context) == context
    assert "".join(redactor.filtered("a@b.io at 10.0.0.1")) == "a@b.io at [IP]"


def test_patterns_of_the_operator_are_found_too(start: Start) -> None:
    pattern = {"name": "ticket", "pattern": r"TICKET [0-9]{4}"}
    redactor = start("pii_redactor", kinds=[], patterns=[pattern])
    assert redactor.filtered("see TICK", "ET 12", "34 ok") == ["see ", "", "[TICKET] ", "ok"]


def test_a_pattern_that_cannot_be_read_keeps_the_plugin_out() -> None:
    with pytest.raises(PluginLoadError, match="'bad'"):
        Running("pii_redactor", {"patterns": [{"name": "bad", "pattern": "("}]})


@pytest.mark.parametrize("seed", ["1 ", "a.", "A1 ", "a@", "(0", "1-", ":a", "DE89", "a@a.", "+1 "])
def test_no_text_makes_the_expressions_run_away(seed: str) -> None:
    """One with two ways to match the same would not come back from this within the test's limit."""
    text = seed * (200_000 // len(seed))
    assert len(ALL.redact(text)) > 1000
    assert ALL.settled(text[:4000]) <= 4000
