"""The programs on a page of the docs, and a way to run them as a reader would."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from tests.e2e.conftest import Stack
from tests.environment import PROJECT_ROOT

PROGRAMS = {
    "sh": ["bash", "-ec"],
    "python": [sys.executable, "-c"],
    "js": ["node", "--input-type=module", "-e"],
}
SERVER = "http://127.0.0.1:5000"
#: The section whose examples share the lines before the first of them.
MAIN_CALLS = "Every main call in three languages"
_BLOCK = re.compile(rf"```({'|'.join(PROGRAMS)})\n(.*?)```", re.DOTALL)


@dataclass(frozen=True)
class Example:
    """A program, whole; `title` is the heading that it stands under."""

    page: str
    title: str
    language: str
    text: str

    def __str__(self) -> str:
        return f"{self.page}: {self.title} ({self.language})"


def examples_of(page: str) -> list[Example]:
    """All programs of a page. Those of `MAIN_CALLS` have the lines of their language before them."""
    found: list[Example] = []
    text = (PROJECT_ROOT / "docs" / page).read_text(encoding="utf-8")
    for section in text.split("\n## "):
        title = section.partition("\n")[0]
        parts = section.split("\n### ")
        before = dict(_BLOCK.findall(parts[0])) if title == MAIN_CALLS else {}
        for part in parts[1:] if before else parts:
            heading = part.partition("\n")[0]
            found += [
                Example(page, heading, language, f"{before.get(language, '')}\n{source}")
                for language, source in _BLOCK.findall(part)
            ]
    return found


def run_example(stack: Stack, example: Example, folder: Path, **names: str) -> str:
    """What it prints, run in `folder`; `names` of the page become those of the test. Fails if it does."""
    source = example.text.replace(SERVER, stack.url)
    for name, actual in names.items():
        source = source.replace(name, actual)
    key = stack.headers["Authorization"].removeprefix("Bearer ")
    done = subprocess.run(
        [*PROGRAMS[example.language], source],
        cwd=folder,
        env={**os.environ, "KEY": key},
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    return done.stdout
