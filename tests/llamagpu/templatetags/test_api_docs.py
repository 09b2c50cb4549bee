from __future__ import annotations

from llamagpu.templatetags.api_docs import coded, lines


def test_backticks_become_code_and_markup_stays_text() -> None:
    assert coded("of `a: b` <b>") == "of <code>a: b</code> &lt;b&gt;"


def test_markup_in_code_stays_text() -> None:
    assert coded("`<i>`") == "<code>&lt;i&gt;</code>"


def test_a_box_is_as_high_as_its_text_up_to_a_limit() -> None:
    assert [lines("one"), lines("one\ntwo"), lines("\n" * 99)] == [1, 2, 14]
