"""The description of the API, read into what its pages show: groups of operations."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

from django.utils.text import slugify

from llamagpu.http.reference.fields import Field, FieldReader

_METHODS = ("get", "post", "put", "patch", "delete")
_JSON = "application/json"


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer: `kind` is its media type, `example` its text, `is_problem` one of those all share."""

    status: str
    text: str
    kind: str
    example: str
    is_problem: bool


@dataclass(frozen=True, slots=True)
class Operation:
    """One call. `example` is a body that the server takes; none where `body_kind` is no text."""

    name: str
    title: str
    method: str
    path: str
    paragraphs: tuple[str, ...]
    path_fields: tuple[Field, ...]
    query_fields: tuple[Field, ...]
    header_fields: tuple[Field, ...]
    body_kind: str
    body_fields: tuple[Field, ...]
    example: str
    answers: tuple[Answer, ...]

    @property
    def has_json_body(self) -> bool:
        return self.body_kind == _JSON

    @property
    def good_answers(self) -> list[Answer]:
        return [answer for answer in self.answers if not answer.is_problem]

    @property
    def problems(self) -> list[Answer]:
        return [answer for answer in self.answers if answer.is_problem]

    def matches(self, words: str) -> bool:
        """Whether each of the words is in its address, its title or what is said of it."""
        said = " ".join((self.method, self.path, self.name, self.title, *self.paragraphs)).lower()
        return all(word in said for word in words.lower().split())

    def curl(self, base: str) -> str:
        """The call for a shell, with the key in `$LLAMAGPU_KEY`."""
        lines = ["curl" + ("" if self.method == "GET" else f" -X {self.method}")]
        lines[0] += f" {shlex.quote(base.rstrip('/') + self.path)}"
        lines.append('-H "Authorization: Bearer $LLAMAGPU_KEY"')
        if self.has_json_body:
            lines += [f'-H "Content-Type: {_JSON}"', f"-d {shlex.quote(self.example)}"]
        elif self.body_kind:
            lines += [f"-F {field.name}=@{field.name}" for field in self.body_fields]
        return " \\\n  ".join(lines)


@dataclass(frozen=True, slots=True)
class Group:
    """Operations that have to do with one thing."""

    name: str
    text: str
    operations: tuple[Operation, ...]

    @property
    def slug(self) -> str:
        return slugify(self.name)

    def filtered(self, words: str) -> Group:
        """Only what matches these words."""
        kept = tuple(operation for operation in self.operations if operation.matches(words))
        return Group(self.name, self.text, kept)


def read_groups(description: dict[str, Any]) -> list[Group]:
    """The groups that an OpenAPI document has operations of, in the order of its tags."""
    texts = {tag["name"]: tag["description"] for tag in description.get("tags", ())}
    found: dict[str, list[Operation]] = {name: [] for name in texts}
    reader = _Reader(description)
    for path, methods in description["paths"].items():
        for method in _METHODS:
            if method in methods:
                operation = methods[method]
                made = reader.operation(path, method, operation)
                found.setdefault(operation["tags"][0], []).append(made)
    return [
        Group(name, texts.get(name, ""), tuple(operations))
        for name, operations in found.items()
        if operations
    ]


class _Reader:
    def __init__(self, description: dict[str, Any]) -> None:
        self._fields = FieldReader(description.get("components", {}))

    def operation(self, path: str, method: str, said: dict[str, Any]) -> Operation:
        body_kind, content = _first(said.get("requestBody", {}).get("content", {}))
        schema = content.get("schema", {})
        return Operation(
            name=said["operationId"],
            title=said["operationId"].replace("_", " ").capitalize(),
            method=method.upper(),
            path=path,
            paragraphs=tuple(said.get("description", "").split("\n\n")),
            path_fields=self._parameters(said, "path"),
            query_fields=self._parameters(said, "query"),
            header_fields=self._parameters(said, "header"),
            body_kind=body_kind,
            body_fields=self._fields.fields_of(schema) if schema else (),
            example=_example(content),
            answers=tuple(self._answers(said["responses"])),
        )

    def _parameters(self, said: dict[str, Any], place: str) -> tuple[Field, ...]:
        return tuple(
            self._fields.field(
                parameter["name"],
                parameter["schema"],
                is_required=parameter.get("required", False),
                text=parameter.get("description", ""),
            )
            for parameter in said.get("parameters", ())
            if parameter["in"] == place
        )

    def _answers(self, responses: dict[str, Any]) -> Iterator[Answer]:
        for status, response in sorted(responses.items()):
            whole = self._fields.resolved(response)
            kind, content = _first(whole.get("content", {}))
            text = whole.get("description") or HTTPStatus(int(status)).phrase
            yield Answer(status, text, kind, _example(content), "$ref" in response)


def _first(content: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """The media type that a call uses if nothing is said, and what is said of it."""
    return next(iter(content.items()), ("", {}))


def _example(content: dict[str, Any]) -> str:
    examples = [entry["value"] for entry in content.get("examples", {}).values()]
    if "example" in content:
        examples.append(content["example"])
    if not examples:
        return ""
    first = examples[0]
    return first if isinstance(first, str) else json.dumps(first, indent=2, ensure_ascii=False)
