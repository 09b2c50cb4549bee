"""The API's description shows an example of every body that is sent, and of every JSON answer."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from drf_spectacular.generators import SchemaGenerator

JSON = "application/json"
METHODS = ("get", "post", "put", "patch", "delete")


@pytest.fixture(scope="module")
def description() -> dict[str, Any]:
    return dict(SchemaGenerator().get_schema(request=None, public=True))


def operations(description: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    for path, methods in description["paths"].items():
        for method in METHODS:
            if method in methods:
                yield f"{method} {path}", methods[method]


def lacks_example(content: dict[str, Any]) -> bool:
    return JSON in content and not {"example", "examples"} & content[JSON].keys()


def test_every_body_has_an_example(description: dict[str, Any]) -> None:
    bodies = [
        (name, operation["requestBody"]["content"])
        for name, operation in operations(description)
        if "requestBody" in operation
    ]
    assert len(bodies) > 20
    assert [name for name, content in bodies if lacks_example(content)] == []


def test_every_answer_has_an_example(description: dict[str, Any]) -> None:
    answers = [
        (f"{name} {status}", answer.get("content", {}))
        for name, operation in operations(description)
        for status, answer in operation["responses"].items()
        if str(status).startswith("2")
    ]
    assert len(answers) > 40
    assert [name for name, content in answers if lacks_example(content)] == []
