"""Functions: what a forced call must look like, and calls found in what a model writes."""

from __future__ import annotations

import itertools
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rest_framework.exceptions import ValidationError

from inference.openai_api.tool_fields import ToolMode, ToolUse, tool_use_of
from inference.openai_api.tool_parsing import PieceReader, calls_of_json
from inference.protocol import GrammarKind, ToolCall


def tool(name: str, **function: Any) -> dict[str, Any]:
    return {"type": "function", "function": {"name": name, **function}}


CITY = {
    "type": "object",
    "properties": {"city": {"$ref": "#/$defs/City"}},
    "$defs": {"City": {"type": "string"}},
}
TOOLS = [tool("weather", parameters=CITY), tool("now")]
MARKED = '<tool_call>\n{"name": "weather", "arguments": {"city": "Rome"}}\n</tool_call>'
FREE = ToolUse(ToolMode.FREE, tuple(TOOLS))


def use(choice: str | None, tools: list[dict[str, Any]] = TOOLS, knows: bool = True) -> ToolUse:
    return tool_use_of({"tools": tools, "tool_choice": choice}, knows_tools=knows)


def test_the_choice_is_the_models_unless_told_otherwise() -> None:
    assert use(None).mode is use("auto").mode is ToolMode.FREE
    assert use("none") == ToolUse()
    assert tool_use_of({}, knows_tools=False) == ToolUse()


def test_a_named_function_is_alone_and_its_schema_the_grammar() -> None:
    named = use("=weather", knows=False)
    assert (named.mode, named.names) == (ToolMode.ONE, ("weather",))
    assert named.grammar is not None
    assert (named.grammar.kind, json.loads(named.grammar.text)) == (GrammarKind.JSON_SCHEMA, CITY)
    assert use("required", TOOLS[:1]) == named


def test_any_of_several_keeps_each_ones_references() -> None:
    grammar = use("required", knows=False).grammar
    assert grammar is not None
    schema = json.loads(grammar.text)
    assert [call["properties"]["name"]["const"] for call in schema["anyOf"]] == ["weather", "now"]
    moved = schema["$defs"]["f0"]["properties"]["city"]["$ref"]
    assert moved == "#/$defs/f0/$defs/City"


def test_a_model_without_tools_in_its_template_cannot_choose() -> None:
    with pytest.raises(ValidationError, match="knows no tools"):
        use("auto", knows=False)


def test_strict_is_promised_only_where_it_is_kept() -> None:
    strict = [tool("now", strict=True)]
    assert use("required", strict).mode is ToolMode.ONE
    with pytest.raises(ValidationError, match="forced"):
        use("auto", strict)


def read(text: str, cuts: list[int], reader: PieceReader) -> tuple[str, list[tuple[str, str]]]:
    """The text and the calls of an answer that comes in parts."""
    bounds = [0, *sorted(min(cut, len(text)) for cut in cuts), len(text)]
    pieces: list[Any] = []
    for start, end in itertools.pairwise(bounds):
        pieces += reader.feed(text[start:end])
    pieces += reader.finish()
    calls: dict[str, list[str]] = {}
    for piece in pieces:
        if isinstance(piece, ToolCall):
            name, arguments = calls.get(piece.id, [piece.name, ""])
            calls[piece.id] = [name, arguments + piece.arguments]
    said = "".join(piece for piece in pieces if isinstance(piece, str))
    return said, [(name, arguments) for name, arguments in calls.values()]


ROME = ("weather", '{"city": "Rome"}')
WRITTEN: list[tuple[str, str, list[tuple[str, str]]]] = [
    ("It is warm.", "It is warm.", []),
    (MARKED, "", [ROME]),
    (f"Let me see.\n{MARKED}\n{MARKED}", "Let me see.", [ROME, ROME]),
    ('{"name": "weather", "parameters": {"city": "Rome"}}', "", [ROME]),
    ('[{"name": "now"}, {"name": "weather", "arguments": {"city": "Rome"}}]', "",
     [("now", "{}"), ROME]),
    ('{"name": "rm", "arguments": {}}', '{"name": "rm", "arguments": {}}', []),
    ('[{"name": "now"}, 5]', '[{"name": "now"}, 5]', []),
    ("{broken", "{broken", []),
    ("a <tool_cal", "a <tool_cal", []),
    ("x <tool_call>{} </tool_call> y", "x <tool_call>{} </tool_call> y", []),
    ('<tool_call>{"name": "now"', '<tool_call>{"name": "now"', []),
    ("  \n ", "  \n ", []),
    (f"{MARKED}\n Done. ", "Done. ", [ROME]),
    ('{"name": "now", "arguments": {"a": "\\ud800"}}', "", [("now", '{"a": "\\ud800"}')]),
]  # fmt: skip


@pytest.mark.parametrize(("text", "said", "calls"), WRITTEN, ids=range(len(WRITTEN)))
@given(cuts=st.lists(st.integers(0, 120), max_size=12))
def test_calls_are_found_however_the_text_is_cut(
    text: str, said: str, calls: list[tuple[str, str]], cuts: list[int]
) -> None:
    reader = PieceReader(FREE)
    assert read(text, cuts, reader) == (said, calls)
    assert reader.num_calls == len(calls)


@given(cuts=st.lists(st.integers(0, 60), max_size=6))
def test_a_forced_call_is_told_from_any_parts(cuts: list[int]) -> None:
    one = PieceReader(use("=weather"))
    assert read('{"city": "Rome"}', cuts, one) == ("", [ROME])
    several = PieceReader(use("required"))
    written = '{"name": "weather",\n "arguments": {"city": "Rome"} }'
    assert read(written, cuts, several) == ("", [ROME])


def test_a_forced_call_that_was_cut_off_keeps_what_there_is() -> None:
    cut = PieceReader(use("required"))
    assert read('{"name": "weather", "arguments": {"ci', [], cut) == ("", [("weather", '{"ci')])
    assert read('{"na', [], PieceReader(use("required"))) == ("", [])


@given(text=st.text(alphabet='<tool_cal>/{}[]"name: now,', max_size=60), cut=st.integers(0, 60))
def test_no_character_of_plain_text_is_lost(text: str, cut: int) -> None:
    said, calls = read(text, [cut], PieceReader(FREE))
    assert calls or said == text


def test_json_that_cannot_be_read_is_no_call() -> None:
    assert calls_of_json("[" * 100_000, ["now"]) == []
    assert calls_of_json('{"name": "now", "arguments": {"a": NaN}}', ["now"]) == []
    assert calls_of_json('{"name": "now", "arguments": "\\ud800"}', ["now"]) == []
    assert calls_of_json('{"name": ["now"]}', ["now"]) == []
