"""A plugin that somebody wrote from the page, in the whole stack: every door, and a reload under load."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest

from tests.e2e.conftest import LONG, Stack
from tests.e2e.page_examples import examples_of
from tests.environment import PROJECT_ROOT

BODY = {**LONG, "max_tokens": 24}
CALLERS = 8
LOUD = """
from dataclasses import replace
from plugins_app.base import BasePlugin

PLUGIN_METADATA = {
    "name": "Loud", "version": "1.0.0", "author": "e2e", "description": "Capitals, a piece late.",
    "dependencies": [], "compatibility": ["cpu", "cuda", "rocm"], "category": "stream_filter",
}


class Loud(BasePlugin):
    metadata = PLUGIN_METADATA

    def execute(self, context):
        text = context.state.get("held", "") + context.text.upper()
        if context.is_last:
            return replace(context, text=text, state={})
        return replace(context, text=text[:-3], state={"held": text[-3:]})
"""


@pytest.fixture(scope="module")
def loud(stack: Stack) -> Iterator[str]:
    """The answer to BODY without the plugin; from then on it runs."""
    plain = stack.text(BODY)
    folder = stack.data_dir / "plugins" / "user"
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "loud.py"
    file.write_text(LOUD)
    call(stack, "POST", "scan")
    digest = call(stack, "GET", "loud")["plugin"]["sha256"]
    call(stack, "POST", "loud/approve", {"sha256": digest})
    assert call(stack, "POST", "loud/load")["plugin"]["state"] == "active"
    yield plain
    call(stack, "POST", "loud/unload")
    file.unlink()
    call(stack, "POST", "scan")


def call(stack: Stack, method: str, path: str, body: Any = None) -> dict[str, Any]:
    url = f"{stack.url}/api/plugins/{path}"
    answer = httpx.request(method, url, headers=stack.headers, json=body, timeout=60)
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


def streamed(stack: Stack) -> tuple[str, str]:
    """The pieces put together, and the text that the last event tells."""
    events = stack.stream(BODY)
    return "".join(event["token"] for event in events), events[-1]["final_text"]


def test_every_door_tells_the_same_text(stack: Stack, loud: str) -> None:
    expected = loud.upper()
    answer = stack.infer(BODY).json()
    assert answer["result"]["generated_text"] == expected
    assert answer["metadata"]["plugins"] == ["loud"]
    assert streamed(stack) == (expected, expected)
    chat = {
        "model": "smollm2-135m-instruct", "temperature": 0, "max_tokens": 24, "ignore_eos": True,
        "messages": [{"role": "user", "content": BODY["text"]}],
    }  # fmt: skip
    url = f"{stack.url}/v1/chat/completions"
    whole = httpx.post(url, json=chat, headers=stack.headers, timeout=120).json()
    assert whole["choices"][0]["message"]["content"] == expected
    pieces = ""
    with httpx.stream(
        "POST", url, json={**chat, "stream": True}, headers=stack.headers, timeout=120
    ) as response:
        for line in response.iter_lines():
            if line.startswith("data: {"):
                delta = json.loads(line[6:])["choices"][0]["delta"]
                pieces += delta.get("content") or ""
    assert pieces == expected
    row = stack.job(request_id=answer["metadata"]["request_id"])
    assert row is not None
    assert row["output"] == expected
    assert json.loads(row["plugins"]) == {"before": [], "after": ["loud"]}


def test_a_reload_under_load_loses_and_corrupts_nothing(stack: Stack, loud: str) -> None:
    """Eight callers stream all the while; each request keeps the plugin that it began with."""
    expected = loud.upper()

    def ask(_: int) -> list[tuple[str, str]]:
        return [streamed(stack) for _ in range(3)]

    before = call(stack, "GET", "loud")["plugin"]
    with ThreadPoolExecutor(CALLERS) as callers:
        answers = callers.map(ask, range(CALLERS))
        states = [call(stack, "POST", "loud/reload")["plugin"]["state"] for _ in range(4)]
        told = [pair for pairs in answers for pair in pairs]
    assert states == ["active"] * 4
    assert told == [(expected, expected)] * (3 * CALLERS)
    after = call(stack, "GET", "loud")["plugin"]
    assert after["generation"] >= before["generation"] + 4


def test_the_way_that_the_page_shows(stack: Stack) -> None:
    """Every line of it, against this stack and its folder."""
    examples = [
        item for item in examples_of("plugins.md") if item.title == "From nothing to running"
    ]
    assert [item.language for item in examples] == ["sh", "python", "sh"]
    folder = stack.data_dir / "plugins" / "user"
    try:
        said = run_lines(stack, examples[0].text)
        (folder / "quiet.py").write_text(examples[1].text.strip())
        said += run_lines(stack, examples[2].text)
        assert "FAIL" not in said
        assert '"text": "Please do NOT shout"' in said
        assert call(stack, "GET", "quiet")["plugin"]["config"] == {"least": 3}
    finally:
        (folder / "quiet.py").unlink(missing_ok=True)
        call(stack, "POST", "scan")


def run_lines(stack: Stack, text: str) -> str:
    text = re.sub(r"\bvar/", f"{stack.data_dir}/", text.strip())
    done = subprocess.run(
        ["bash", "-ec", re.sub(r"^python ", f"{sys.executable} ", text, flags=re.MULTILINE)],
        cwd=PROJECT_ROOT, env=stack.environment, capture_output=True, text=True, timeout=240,
    )  # fmt: skip
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    return done.stdout
