"""Every program on docs/api.md and docs/openai.md does what the page says."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.e2e.conftest import Stack
from tests.e2e.page_examples import PROGRAMS, Example, examples_of, run_example

EXAMPLES = [*examples_of("api.md"), *examples_of("openai.md")]
TITLES = [
    "One answer",
    "Tokens as they are made",
    "Many answers in one call",
    "Many answers that nobody waits for",
    "Jobs: list, read, cancel",
    "Models: register, load, unload, delete",
    "Models: fetch from a hub",
    "A chat, and a chat as a stream",
    "A text that goes on",
    "Embeddings",
    "A conversation that the server keeps",
    "A batch from a file",
    "A call that may be sent twice",
    "Keys: make, list, rotate, revoke",
]
#: What an example prints; the others tell the capital of France.
SAID = {
    "Jobs: list, read, cancel": "admission",
    "Jobs": '"success":true',
    "Why did this take so long": "JOB_NOT_FOUND",
    "Keys: make, list, rotate, revoke": "ci",
}
SAID_BY_LANGUAGE = {
    ("Embeddings", "sh"): '"object": "embedding"',
    ("Embeddings", "python"): "similarity 0.",
    ("Embeddings", "js"): "similarity 0.",
    ("A call that may be sent twice", "sh"): "Idempotent-Replayed: true",
    ("A call that may be sent twice", "python"): "true",
    ("A call that may be sent twice", "js"): "true",
}


@pytest.mark.parametrize("title", TITLES)
def test_every_main_call_has_an_example_in_every_language(title: str) -> None:
    found = [example.language for example in EXAMPLES if example.title == title]
    assert sorted(found) == sorted(PROGRAMS)


@pytest.mark.parametrize(
    "example", [item for item in EXAMPLES if not item.title.startswith("Models: ")], ids=str
)
def test_an_example_does_what_it_says(stack: Stack, example: Example, tmp_path: Path) -> None:
    said = run_example(stack, example, tmp_path)
    place = (example.title, example.language)
    assert SAID_BY_LANGUAGE.get(place, SAID.get(example.title, "Paris")) in said
