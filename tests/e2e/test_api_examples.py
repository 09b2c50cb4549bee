"""The examples of docs/api.md do what the page says."""

from __future__ import annotations

import os
import re
import subprocess
import sys

import pytest

from tests.e2e.conftest import Stack
from tests.environment import PROJECT_ROOT

PAGE = (PROJECT_ROOT / "docs" / "api.md").read_text(encoding="utf-8")
SECTION = PAGE.partition("## OpenAI's API\n")[2].partition("\n## ")[0]
PROGRAMS = {
    "sh": ["bash", "-c"],
    "python": [sys.executable, "-c"],
    "js": ["node", "--input-type=module", "-e"],
}


EXAMPLES = re.findall(rf"```({'|'.join(PROGRAMS)})\n(.*?)```", SECTION, re.DOTALL)
# What an example's answer holds, by a word of the example; else the capital of France.
SAID = {"client.embeddings": "0.", "/v1/embeddings": '"object": "embedding"', "echo": '" Paris"'}


def test_there_are_examples_in_every_language() -> None:
    assert {language for language, _ in EXAMPLES} == set(PROGRAMS)


@pytest.mark.parametrize(("language", "text"), EXAMPLES)
def test_an_example_is_answered(stack: Stack, language: str, text: str) -> None:
    source = text.replace("http://127.0.0.1:5000", stack.url)
    key = stack.headers["Authorization"].removeprefix("Bearer ")
    done = subprocess.run(
        [*PROGRAMS[language], source],
        env={**os.environ, "KEY": key},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    expected = next((said for word, said in SAID.items() if word in text), "Paris")
    assert expected in done.stdout
