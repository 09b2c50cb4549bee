"""Whatever a template tries, rendering it ends soon and takes little memory."""

from __future__ import annotations

import threading
import tracemalloc

import pytest

from inference import template_sandbox
from inference.chat_template import ChatTemplate, ChatTemplateError
from inference.protocol import ChatMessage

MESSAGES = [ChatMessage("user", "hello"), ChatMessage("assistant", "bye")]

ENDLESS = [
    "{% for a in range(99999) %}{% for b in range(99999) %}{{ a }}{% endfor %}{% endfor %}",
    "{% macro f(n) %}{{ f(n - 1) }}{{ f(n - 1) }}{% endmacro %}{{ f(40) }}",
    "{% macro f(n) %}{% if n > 0 %}{{ f(n - 1) }}{{ f(n - 1) }}{% endif %}{% endmacro %}{{ f(40) }}",
    "{% for a in [1, 2, 3] recursive %}{{ loop([1, 2, 3]) }}{% endfor %}",
    "{% set l = range(99999)|list %}" + "{% if -1 in l %}{% endif %}" * 2_000,
    "{% for a in range(99999) %}{% for b in range(99999) %}{% break %}{% endfor %}{% endfor %}",
    "{% set l = range(99999)|list %}{% for a in l %}{% set b = l|sort|reverse|list %}{% endfor %}",
    "{% for a in range(99999)|map('string')|map('upper') %}{% for b in range(999) %}{% endfor %}"
    "{% endfor %}",
]
HUGE = [
    "{{ 'a' * 10 ** 10 }}",
    "{{ 10 ** 10 * 'ab' }}",
    "{{ ['a'] * 10 ** 9 }}",
    "{{ 10 ** (10 ** 8) }}",
    "{% set ns = namespace(n=3) %}{% for a in range(60) %}{% set ns.n = ns.n * ns.n %}{% endfor %}",
    "{% set ns = namespace(t='aa') %}{% for a in range(60) %}{% set ns.t = ns.t ~ ns.t %}{% endfor %}",
    "{% set ns = namespace(t='aa') %}{% for a in range(60) %}{% set ns.t = ns.t + ns.t %}{% endfor %}",
    "{% set ns = namespace(t=[1]) %}{% for a in range(60) %}{% set ns.t = ns.t + ns.t %}{% endfor %}",
    "{% set ns = namespace(t=[1]) %}{% for a in range(60) %}{% set ns.t = [ns.t, ns.t] %}{% endfor %}",
    "{% set ns = namespace(t=1) %}{% for a in range(60) %}{% set ns.t = (ns.t, ns.t) %}{% endfor %}",
    "{% set ns = namespace(t=1) %}{% for a in range(60) %}{% set ns.t = {1: ns.t, 2: ns.t} %}"
    "{% endfor %}{{ ns.t }}",
    "{% set n = namespace(t=namespace(x=1)) %}{% for a in range(60) %}"
    "{% set n.t = namespace(a=n.t, b=n.t) %}{% endfor %}{{ n.t }}",
    "{{ 'a'|center(10 ** 10) }}",
    "{{ 'a'.center(10 ** 10) }}",
    "{{ 'a'.ljust(10 ** 10) }}",
    "{{ 'a'.zfill(10 ** 10) }}",
    "{{ ('\\t' * 100000).expandtabs(100000) }}",
    "{{ ('\\n' * 100000)|indent(100000) }}",
    "{{ ('a' * 100000).replace('a', 'b' * 100000) }}",
    "{{ ('a' * 100000)|replace('a', 'b' * 100000) }}",
    "{{ ('a' * 100000).join(range(99999)|list|map('string')|list) }}",
    "{{ range(99999)|join('a' * 100000) }}",
    "{{ [['a' * 1000000] * 1000]|tojson }}",
    "{{ messages|tojson(indent=10 ** 9) }}",
    "{{ '%1000000000d' % 1 }}",
    "{{ '%*d' % (1000000000, 1) }}",
    "{{ '%1000000000d'|format(1) }}",
    "{{ '{:1000000000}'.format(1) }}",
    "{{ '{:{}}'.format(1, 1000000000) }}",
    "{{ [1]|batch(10 ** 9, 0)|list }}",
    "{{ [1]|slice(10 ** 9)|list }}",
    "{{ 'http://x'|urlize }}",
    "{% set x %}{% for a in range(90000) %}" + "a" * 50_000 + "{% endfor %}{% endset %}",
    "{% macro f() %}" + "a" * 50_000 + "{% endmacro %}{% for a in range(90000) %}{% set b = f() %}"
    "{% endfor %}",
]


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """What runs for hours also runs for longer than this, on any machine."""
    monkeypatch.setattr(template_sandbox, "MAX_CPU_SECONDS", 0.5)


@pytest.mark.parametrize("source", ENDLESS)
def test_a_template_that_runs_for_hours_is_stopped(source: str) -> None:
    with pytest.raises(ChatTemplateError):
        ChatTemplate(source).render(MESSAGES)


@pytest.mark.parametrize("source", HUGE)
def test_a_template_that_fills_memory_is_stopped_before_it_does(source: str) -> None:
    tracemalloc.start()
    try:
        with pytest.raises(ChatTemplateError):
            ChatTemplate(source).render(MESSAGES)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 600_000_000


def test_each_rendering_has_a_budget_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(template_sandbox, "MAX_STEPS", 1000)
    template = ChatTemplate("{% for a in range(600) %}{% endfor %}ok")
    for _ in range(3):
        assert template.render(MESSAGES) == "ok"
    with pytest.raises(ChatTemplateError, match="1000 steps"):
        ChatTemplate("{% for a in range(2000) %}{% endfor %}").render(MESSAGES)


def test_threads_do_not_share_a_budget(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(template_sandbox, "MAX_CPU_SECONDS", 2.0)
    template = ChatTemplate("{% for a in range(90000) %}{% endfor %}{{ messages|length }}")
    results: list[str] = []
    threads = [
        threading.Thread(target=lambda: results.append(template.render(MESSAGES))) for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == ["2"] * 4


def test_long_conversations_are_no_attack(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(template_sandbox, "MAX_CPU_SECONDS", 2.0)
    source = (
        "{% set ns = namespace(text='') %}{% for m in messages %}{% if m.role == 'user' %}"
        "{% set ns.text = '<' ~ m.role ~ '>' + m.content.strip().replace('\\n', ' ') %}"
        "{% else %}{% set ns.text = m.content|trim|upper %}{% endif %}{{ ns.text }}"
        "{{ loop.last and 'end' or '' }}{% endfor %}"
    )
    messages = [ChatMessage("user" if i % 2 else "assistant", "word\n" * 1000) for i in range(400)]
    text = ChatTemplate(source).render(messages)
    assert text.endswith("end")
    assert len(text) > 1_900_000
