"""Functions in conversations: as the template shows them, or told plainly where it knows none."""

from __future__ import annotations

from typing import Any

import pytest
from transformers.utils.chat_template_utils import render_jinja_template

from inference.chat_template import ChatTemplate
from inference.conversation import ChatMessage, Prompt, ToolCall
from inference.tokenizer import Tokenizer
from inference.tool_turns import tell_plainly
from tests.environment import MODEL_ROOT

BUILT_IN = MODEL_ROOT / "smollm2-135m-instruct"
WEATHER: dict[str, Any] = {
    "type": "function",
    "function": {"name": "weather", "parameters": {"type": "object", "properties": {}}},
}
CALL = ToolCall("abcdef123", "weather", '{"city": "Rome"}')
CHAT = [
    ChatMessage("user", "Is it warm in Rome?"),
    ChatMessage("assistant", "", tool_calls=(CALL,)),
    ChatMessage("tool", "31 degrees", tool_call_id="abcdef123"),
]
# As the templates of model families with tools do it: definitions, calls, results.
KNOWING = (
    "{% if tools %}{% for tool in tools %}{{ tool | tojson }}\n{% endfor %}{% endif %}"
    "{% for m in messages %}{{ m.role }}:{{ m.content }}{% for c in m.tool_calls %}"
    "<tool_call>{{ c.function.name }} {{ c.function.arguments | tojson }}</tool_call>{% endfor %}"
    "{{ m.tool_call_id }}{{ m.name }}\n{% endfor %}"
)
PLAIN = "{% for m in messages %}{{ m.role }}:{{ m.content }}\n{% endfor %}"


def test_a_template_with_tools_renders_as_transformers_does() -> None:
    template = ChatTemplate(KNOWING)
    assert template.knows_tools
    function = {"name": "weather", "arguments": {"city": "Rome"}}
    as_transformers: list[dict[str, Any]] = [
        {"role": "user", "content": "Is it warm in Rome?"},
        {
            "role": "assistant",
            "content": "",
            "tool_calls": [{"id": CALL.id, "type": "function", "function": function}],
        },
        {"role": "tool", "content": "31 degrees", "tool_call_id": CALL.id},
    ]
    expected, _ = render_jinja_template([as_transformers], tools=[WEATHER], chat_template=KNOWING)
    assert template.render(CHAT, tools=[WEATHER]) == expected[0]


def test_arguments_that_are_no_object_stay_text() -> None:
    odd = ChatMessage("assistant", "", tool_calls=(ToolCall("1", "f", "{broken"),))
    assert '"{broken"' in ChatTemplate(KNOWING).render([odd])


def test_without_tools_a_template_sees_none() -> None:
    assert ChatTemplate("{{ tools is none }}").render([ChatMessage("user", "x")]) == "True"


def test_a_template_without_tools_reads_plain_turns() -> None:
    template = ChatTemplate(PLAIN)
    assert not template.knows_tools
    assert template.render(CHAT) == (
        "user:Is it warm in Rome?\n"
        'assistant:{"name": "weather", "arguments": {"city": "Rome"}}\n'
        "user:Result of weather: 31 degrees\n"
    )


def test_definitions_stand_behind_the_system_s_words_or_before_the_first_turn() -> None:
    system = tell_plainly([ChatMessage("system", "Be brief."), *CHAT], [WEATHER])[0]
    assert system.content.startswith("Be brief.\n\n")
    assert '"name": "weather"' in system.content
    user = tell_plainly(CHAT, [WEATHER])[0]
    assert user.content.endswith("\n\nIs it warm in Rome?")
    assert user.role == "user"


def test_results_that_follow_each_other_are_one_turn() -> None:
    second = ChatMessage("tool", "dry", tool_call_id="unknown")
    turns = tell_plainly([*CHAT, second], [])
    assert [turn.role for turn in turns] == ["user", "assistant", "user"]
    assert turns[-1].content == "Result of weather: 31 degrees\nResult of the function: dry"


@pytest.mark.parametrize("tools", [(), (WEATHER,)])
def test_the_tokenizer_counts_what_the_template_writes(tools: tuple[dict[str, Any], ...]) -> None:
    tokenizer = Tokenizer.load(BUILT_IN)
    assert not tokenizer.knows_tools
    text = tokenizer.decode(tokenizer.encode_prompt(Prompt(messages=tuple(CHAT), tools=tools)))
    assert ("These functions can be called." in text) == bool(tools)
    assert "Result of weather: 31 degrees" in text


def test_a_raw_text_skips_the_template() -> None:
    tokenizer = Tokenizer.load(BUILT_IN)
    raw = tokenizer.encode_prompt(Prompt(text="Once upon a time", is_raw=True))
    assert tokenizer.decode(raw) == "Once upon a time"
    assert len(tokenizer.encode_prompt(Prompt(text="Once upon a time"))) > len(raw)
