"""The real description, read into groups: nothing is missing, and every call can be copied."""

from __future__ import annotations

import json
import shlex

import pytest
from drf_spectacular.generators import SchemaGenerator

from llamagpu.http.reference.operations import Group, Operation, read_groups


@pytest.fixture(scope="module")
def groups() -> list[Group]:
    return read_groups(SchemaGenerator().get_schema(public=True))


def named(groups: list[Group], name: str) -> Operation:
    return next(
        operation for group in groups for operation in group.operations if operation.name == name
    )


def test_every_call_of_the_description_is_in_one_group(groups: list[Group]) -> None:
    described = SchemaGenerator().get_schema(public=True)["paths"]
    found = [
        (operation.path, operation.method.lower())
        for group in groups
        for operation in group.operations
    ]
    assert sorted(found) == sorted((path, name) for path in described for name in described[path])


def test_every_group_has_words_and_a_name_for_its_address(groups: list[Group]) -> None:
    assert all(group.text and group.slug for group in groups)
    assert len({group.slug for group in groups}) == len(groups)


def test_a_call_says_who_may_make_it_and_nothing_of_its_address(groups: list[Group]) -> None:
    infer = named(groups, "infer")
    assert infer.paragraphs == (
        "An answer in one piece.",
        "Needs the right `inference: write`, of a key the scope `infer`.",
    )
    texts = [o.paragraphs[0] for group in groups for o in group.operations]
    assert not [text for text in texts if "/api/" in text or "/v1/" in text]


def test_the_call_for_a_shell_sends_the_example_that_is_described(groups: list[Group]) -> None:
    infer = named(groups, "infer")
    words = shlex.split(infer.curl("http://localhost:5000/"))
    assert words[:4] == ["curl", "-X", "POST", "http://localhost:5000/api/infer"]
    assert json.loads(words[words.index("-d") + 1])["text"] == "What is the capital of France?"


def test_a_call_that_takes_files_shows_a_form(groups: list[Group]) -> None:
    words = shlex.split(named(groups, "create_file").curl("http://localhost:5000"))
    assert "file=@file" in words
    assert "-d" not in words


def test_answers_of_a_call_and_what_all_may_meet_are_told_apart(groups: list[Group]) -> None:
    infer = named(groups, "infer")
    assert [answer.status for answer in infer.good_answers] == ["200"]
    assert json.loads(infer.good_answers[0].example)["success"] is True
    assert {"400", "429", "503"} <= {answer.status for answer in infer.problems}


def test_a_stream_is_shown_as_it_is_sent(groups: list[Group]) -> None:
    (answer,) = named(groups, "stream_infer").good_answers
    assert answer.kind == "text/event-stream"
    assert "data: {" in answer.example


@pytest.mark.parametrize("words", ["/api/keys post", "create key", "CREATE   KEY"])
def test_words_find_a_call_by_its_address_or_its_title(groups: list[Group], words: str) -> None:
    found = [o.name for group in groups for o in group.filtered(words).operations]
    assert "create_key" in found
    assert "list_audit_rows" not in found
