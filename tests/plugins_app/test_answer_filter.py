"""Whatever the pieces are, the joined stream is the text that the filters make of the whole."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plugins_app.answer_filter import AnswerFilter
from plugins_app.base import ChunkContext, Hook
from plugins_app.pipeline import PluginFailedError, PluginRefusedError
from plugins_app.spec import FailurePolicy
from tests.plugins_app.links import DirectLink, Plain, link
from tests.plugins_app.sample_plugins import (
    Broken,
    HoldsAll,
    Refuses,
    Returns,
    Same,
    Swaps,
    Upper,
)

PIECES = st.lists(st.text(alphabet="abc \u00e9\U0001f600", max_size=6), max_size=12)


def swaps(old: str, new: str, slug: str = "swaps", **fields: Any) -> DirectLink:
    return link(Swaps, slug, Hook.CHUNK, old=old, new=new, **fields)


def filtered(links: list[DirectLink], pieces: list[str]) -> tuple[list[str], AnswerFilter]:
    chunks = AnswerFilter(links, request_id="r", model="m")
    return [*(chunks.push(piece) for piece in pieces), chunks.push("", is_last=True)], chunks


@given(PIECES)
def test_the_joined_stream_is_the_filtered_whole(pieces: list[str]) -> None:
    links = [swaps("abc", "x"), link(HoldsAll, "h", Hook.CHUNK), swaps("xx", "y", "two")]
    joined = "".join(filtered(links, pieces)[0])
    assert joined == "".join(filtered(links, ["".join(pieces)])[0])
    assert joined == "".join(pieces).replace("abc", "x").replace("xx", "y")


@given(PIECES)
def test_a_filter_that_only_holds_back_did_not_act(pieces: list[str]) -> None:
    out, chunks = filtered([link(HoldsAll, "h", Hook.CHUNK), swaps("zz", "", "s")], pieces)
    assert "".join(out) == "".join(pieces)
    assert chunks.acted == []


@given(PIECES)
def test_acted_says_whether_the_text_was_changed(pieces: list[str]) -> None:
    text = "".join(pieces)
    _, chunks = filtered([swaps("ab", "_")], pieces)
    assert chunks.acted == (["swaps"] if "ab" in text else [])


def test_text_is_held_back_across_pieces() -> None:
    out, _ = filtered([swaps("secret", "***")], ["a se", "cr", "et b", " se"])
    assert out == ["a ", "", "*** b", " ", "se"]


def test_text_that_is_swallowed_counts_as_changed() -> None:
    empty = ChunkContext("r", "m", 0, "")
    out, chunks = filtered([link(Returns, "mute", Hook.CHUNK, value=empty)], ["a", "b"])
    assert out == ["", "", ""]
    assert chunks.acted == ["mute"]


class DiesAtThird(Swaps):
    def execute(self, input_data: ChunkContext) -> ChunkContext:
        self.config["calls"] = self.config.get("calls", 0) + 1
        if self.config["calls"] == 3:
            raise ValueError("oh")
        return super().execute(input_data)


def test_what_a_failed_filter_held_is_not_lost() -> None:
    dying = link(DiesAtThird, "d", Hook.CHUNK, old="secret", new="***")
    out, chunks = filtered([dying, link(Upper, "u", Hook.CHUNK)], ["a se", "cr", "et", " secret"])
    assert out == ["A ", "", "SECRET", " SECRET", ""]
    assert chunks.acted == ["u"]


def test_a_failed_filter_is_not_called_again_for_this_answer() -> None:
    dying = link(DiesAtThird, "d", Hook.CHUNK, old="s", new="***")
    filtered([dying], ["a", "b", "c", "d", "e"])
    assert dying.plugin.config["calls"] == 3
    assert filtered([dying], ["s"])[0] == ["***", ""]


def test_a_filter_that_must_not_fail_ends_the_answer() -> None:
    chunks = AnswerFilter(
        [link(Broken, "b", Hook.CHUNK, policy=FailurePolicy.FAIL_CLOSED)],
        request_id="r",
        model="m",
    )
    with pytest.raises(PluginFailedError):
        chunks.push("a")


def test_a_filter_may_refuse_in_the_middle() -> None:
    chunks = AnswerFilter([link(Refuses, "r", Hook.CHUNK, word="b")], request_id="r", model="m")
    assert chunks.push("a") == "a"
    with pytest.raises(PluginRefusedError):
        chunks.push("b")


class Counts(Plain):
    """Numbers the pieces of each answer by its state."""

    def execute(self, input_data: ChunkContext) -> ChunkContext:
        number = input_data.state.get("n", 0) + 1
        text = f"{input_data.index}.{number}{'!' if input_data.is_last else ''} "
        return replace(input_data, text=text, state={"n": number})


def test_each_answer_has_a_state_of_its_own() -> None:
    links = [link(Counts, "c", Hook.CHUNK), link(Same, "s", Hook.CHUNK)]
    first = AnswerFilter(links, request_id="r", model="m", index=0)
    second = AnswerFilter(links, request_id="r", model="m", index=1)
    out = [first.push("x"), second.push("x"), first.push("x"), second.push("", is_last=True)]
    assert out == ["0.1 ", "1.1 ", "0.2 ", "1.2! "]


@pytest.mark.parametrize("state", [None, "held", [1]])
def test_a_state_that_is_none_is_a_fault(state: Any) -> None:
    value = ChunkContext("r", "m", 0, "other", state=state)
    out, _ = filtered([link(Returns, "bad", Hook.CHUNK, value=value)], ["a"])
    assert out == ["a", ""]
