"""Serializers that share their fields between calls."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from rest_framework import serializers

from llamagpu.http.fields import StrictSerializer, TextField, WholeNumberField


class PartSerializer(StrictSerializer):
    name = TextField()


class ThingSerializer(StrictSerializer):
    count = WholeNumberField(default=1, max_value=9)
    tags = serializers.ListField(child=TextField(), default=list)
    parts = PartSerializer(many=True, required=False)
    word = TextField(required=False)


def checked(data: Any, **options: Any) -> Any:
    serializer = ThingSerializer(data=data, **options)
    serializer.is_valid(raise_exception=True)
    return serializer.validated_data


def test_a_call_leaves_nothing_for_the_next_one() -> None:
    first = checked({"count": 3, "tags": ["a"], "parts": [{"name": "x"}]})
    first["tags"].append("b")
    second = checked({})
    second["tags"].append("c")
    assert checked({}) == {"count": 1, "tags": []}
    with pytest.raises(serializers.ValidationError):
        checked({"count": 99})
    assert ThingSerializer(data={"count": 2}).is_valid()


def test_a_partial_one_has_fields_of_its_own() -> None:
    assert checked({}, partial=True) == {}
    assert checked({}) == {"count": 1, "tags": []}


def test_what_a_serializer_is_told_reaches_its_fields() -> None:
    told = ThingSerializer(data={}, context={"a": 1})
    assert told.fields["word"].context == {"a": 1}
    assert ThingSerializer(data={}).fields["word"].context == {}


def test_threads_share_them() -> None:
    def validate(number: int) -> Any:
        return checked({"count": number % 9, "tags": [str(number)], "word": f"w{number}"})

    with ThreadPoolExecutor(8) as pool:
        for number, found in enumerate(pool.map(validate, range(400))):
            expected = {"count": number % 9, "tags": [str(number)], "word": f"w{number}"}
            assert found == expected
