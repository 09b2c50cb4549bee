"""Templates render as transformers renders them, and cannot do harm."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from transformers import AutoTokenizer
from transformers.utils.chat_template_utils import render_jinja_template

from inference import chat_template
from inference.chat_template import ChatTemplate, ChatTemplateError
from inference.protocol import ChatMessage
from tests.environment import MODEL_ROOT

BUILT_IN = MODEL_ROOT / "smollm2-135m-instruct"
CHATS: list[list[tuple[str, str]]] = [
    [("user", "What is the capital of France?")],
    [("system", "Be brief."), ("user", "Hi")],
    [("user", "Hi"), ("assistant", "Hello!"), ("user", "  spaces \n\n and <|im_end|> & <b>x</b> ")],
    [("user", "日本語 👩‍👩‍👧‍👦 é")],
    [("user", "")],
]
# Whitespace rules, loop controls, filters, namespaces, dates: what real templates use.
SOURCES = [
    "{% for m in messages %}\n  {% if loop.first %}\n    [{{ m['role'] }}]\n  {% endif %}\n"
    "  {{- m.content | trim }}\n{% endfor %}\n{% if add_generation_prompt %}\n>{% endif %}\n",
    "{% for m in messages %}{% if m.role == 'system' %}{% continue %}{% endif %}{{ m.content }}"
    "{% if loop.index > 1 %}{% break %}{% endif %}{% endfor %}",
    "{% set ns = namespace(n=0) %}{% for m in messages %}{% set ns.n = ns.n + m.content|length %}"
    "{% endfor %}{{ ns.n }} {{ messages | tojson }} {{ messages[0] | tojson(indent=2) }}",
    "{{ bos_token }}{% generation %}{{ messages[-1].content }}{% endgeneration %}{{ eos_token }}",
    "{{ strftime_now('%Y-%m-%d') }} {{ dict(a=1)['a'] }} {{ tools is none }} {{ nothing }}",
]


def turns(chat: list[tuple[str, str]]) -> list[ChatMessage]:
    return [ChatMessage(role, content) for role, content in chat]


@pytest.mark.parametrize("chat", CHATS)
@pytest.mark.parametrize("add_generation_prompt", [True, False])
def test_the_built_in_model_renders_byte_for_byte(
    chat: list[tuple[str, str]], add_generation_prompt: bool
) -> None:
    reference: Any = AutoTokenizer.from_pretrained(BUILT_IN)
    expected = reference.apply_chat_template(
        [{"role": role, "content": content} for role, content in chat],
        add_generation_prompt=add_generation_prompt,
        tokenize=False,
    )
    template = ChatTemplate.load(BUILT_IN)
    assert template is not None
    assert template.render(turns(chat), add_generation_prompt) == expected


@pytest.mark.parametrize("source", SOURCES)
def test_the_environment_is_that_of_transformers(source: str) -> None:
    chat = CHATS[2]
    expected, _ = render_jinja_template(
        conversations=[[{"role": role, "content": content} for role, content in chat]],
        chat_template=source,
        add_generation_prompt=True,
        bos_token="<s>",
        eos_token="</s>",
    )
    template = ChatTemplate(source, {"bos_token": "<s>", "eos_token": "</s>"})
    assert template.render(turns(chat)) == expected[0]


def test_a_template_may_refuse_a_conversation() -> None:
    template = ChatTemplate("{{ raise_exception('roles must alternate') }}")
    with pytest.raises(ChatTemplateError, match="roles must alternate"):
        template.render(turns(CHATS[0]))


@pytest.mark.parametrize(
    "source",
    [
        "{{ messages.__class__ }}{{ messages.__class__.__mro__[1].__subclasses__() }}",
        "{{ ''.__class__.__base__.__subclasses__() }}",
        "{{ messages.append(1) }}",
        "{{ cycler.__init__.__globals__.os.popen('id').read() }}",
        "{{ namespace(_secret=1) }}",
        "{{ namespace.__init__.__globals__ }}",
        "{{ strftime_now.__globals__['__builtins__'] }}",
        "{{ messages[0].content.nothing.more }}",
        "{{ 1 + 'a' }}",
        "{{ range(10 ** 9) | list }}",
        "{% include 'other' %}",
    ],
)
def test_a_template_cannot_leave_its_sandbox_or_crash_its_host(source: str) -> None:
    with pytest.raises(ChatTemplateError):
        ChatTemplate(source).render(turns(CHATS[0]))


def test_a_template_cannot_write_without_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chat_template, "MAX_RENDERED_CHARS", 1000)
    endless = "{% for i in range(99999) %}{% for j in range(99999) %}spam{% endfor %}{% endfor %}"
    with pytest.raises(ChatTemplateError, match="more than 1000 characters"):
        ChatTemplate(endless).render(turns(CHATS[0]))


def test_no_messages_no_prompt() -> None:
    with pytest.raises(ChatTemplateError, match="at least one"):
        ChatTemplate("x").render([])


@pytest.mark.parametrize("source", ["{% if %}", "{{ unclosed", "{% nonsense %}"])
def test_a_template_that_is_none_is_refused(source: str) -> None:
    with pytest.raises(ChatTemplateError, match="cannot be compiled"):
        ChatTemplate(source)


def write_config(folder: Path, **fields: Any) -> None:
    (folder / "tokenizer_config.json").write_text(json.dumps(fields))


def render(folder: Path) -> str:
    template = ChatTemplate.load(folder)
    assert template is not None
    return template.render([ChatMessage("user", "hi")])


def test_a_model_without_a_template_has_none(tmp_path: Path) -> None:
    assert ChatTemplate.load(tmp_path) is None
    write_config(tmp_path, bos_token="x")
    assert ChatTemplate.load(tmp_path) is None


def test_where_templates_are_found(tmp_path: Path) -> None:
    write_config(tmp_path, chat_template="config", bos_token={"content": "<b>"})
    assert render(tmp_path) == "config"
    named = [{"name": "tool_use", "template": "tools"}, {"name": "default", "template": "named"}]
    write_config(tmp_path, chat_template=named)
    assert render(tmp_path) == "named"
    write_config(tmp_path, chat_template=[{"name": "only", "template": "only {{ bos_token }}"}])
    (tmp_path / "special_tokens_map.json").write_text('{"bos_token": {"content": "<b>"}}')
    assert render(tmp_path) == "only <b>"
    (tmp_path / "chat_template.jinja").write_text("file")
    assert render(tmp_path) == "file"


@pytest.mark.parametrize(
    "value",
    [
        [],
        [{"name": "a"}],
        3,
        ["x"],
        [{"name": "a", "template": "x"}, {"name": "b", "template": "y"}],
    ],
)
def test_a_template_entry_that_names_no_default_is_refused(value: Any, tmp_path: Path) -> None:
    write_config(tmp_path, chat_template=value)
    with pytest.raises(ChatTemplateError):
        ChatTemplate.load(tmp_path)


def test_broken_files_are_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "tokenizer_config.json").write_text("{")
    with pytest.raises(ChatTemplateError, match=r"tokenizer_config\.json"):
        ChatTemplate.load(tmp_path)
    write_config(tmp_path)
    (tmp_path / "chat_template.jinja").write_bytes(b"\xff\xfe")
    with pytest.raises(ChatTemplateError, match=r"chat_template\.jinja"):
        ChatTemplate.load(tmp_path)
    (tmp_path / "chat_template.jinja").write_bytes(b"x" * (chat_template.MAX_TEMPLATE_BYTES + 1))
    with pytest.raises(ChatTemplateError, match="larger than"):
        ChatTemplate.load(tmp_path)
