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


def example(language: str) -> str:
    (found,) = re.findall(rf"```{language}\n(.*?)```", SECTION, re.DOTALL)
    return str(found)


@pytest.mark.parametrize("language", PROGRAMS)
def test_the_example_is_answered(stack: Stack, language: str) -> None:
    source = example(language).replace("http://127.0.0.1:5000", stack.url)
    key = stack.headers["Authorization"].removeprefix("Bearer ")
    done = subprocess.run(
        [*PROGRAMS[language], source],
        env={**os.environ, "KEY": key},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert "Paris" in done.stdout
