from __future__ import annotations

from base64 import b64encode
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

import pytest
from rest_framework import serializers
from rest_framework.exceptions import ValidationError
from rest_framework.request import Request
from rest_framework.test import APIRequestFactory

from accounts.models import Role
from llamagpu.http.fields import StrictSerializer
from llamagpu.http.filters import read_filters
from llamagpu.http.pagination import page_response


class Filters(StrictSerializer):
    name = serializers.CharField(required=False)
    is_active = serializers.BooleanField(required=False)


def request(address: str = "/api/things", **query: Any) -> Request:
    return Request(APIRequestFactory().get(f"{address}?{urlencode(query, doseq=True)}"))


def page(**query: Any) -> dict[str, Any]:
    answer = page_response(
        request(**query), Role.objects.all(), lambda role: role.slug, ordering=["id"]
    )
    return answer.data


@pytest.mark.django_db
def test_pages_follow_each_other_in_both_directions() -> None:
    first = page(limit=3)
    assert first["success"] is True
    assert first["results"] == ["admin", "operator", "user"]
    assert first["previous"] is None
    second = page(**query_of(first["next"]))
    assert second["results"] == ["guest"]
    assert second["next"] is None
    assert page(**query_of(second["previous"]))["results"] == first["results"]


@pytest.mark.django_db
def test_a_row_that_comes_meanwhile_moves_nobody() -> None:
    following = page(limit=2)["next"]
    Role.objects.filter(slug="admin").delete()
    assert page(**query_of(following))["results"] == ["user", "guest"]


@pytest.mark.parametrize("limit", ["0", "-1", "201", "x", "", "1.5", "٣", "9" * 30])
@pytest.mark.django_db
def test_a_limit_that_cannot_be_is_refused_by_name(limit: str) -> None:
    with pytest.raises(ValidationError, match="whole number from 1 to 200"):
        page(limit=limit)


@pytest.mark.parametrize(
    "cursor", ["x", "ä", b64encode(b"p=x").decode(), b64encode(b"p=" + b"9" * 40).decode()]
)
@pytest.mark.django_db
def test_an_invented_cursor_is_refused_or_empty_but_breaks_nothing(cursor: str) -> None:
    try:
        assert page(cursor=cursor)["results"] == []
    except ValidationError as error:
        assert "cursor" in error.detail  # type: ignore[operator]


def test_filters_are_read_and_those_left_out_are_absent() -> None:
    found = read_filters(request(name="x", is_active="false", limit="3"), Filters)
    assert found == {"name": "x", "is_active": False}
    assert read_filters(request(), Filters) == {}


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ({"nmae": "x"}, "nmae"),
        ({"name": ["x", "y"]}, "name"),
        ({"name": "a\0b"}, "name"),
        ({"is_active": "perhaps"}, "is_active"),
    ],
)
def test_a_filter_that_cannot_be_is_refused_by_name(query: dict[str, Any], field: str) -> None:
    with pytest.raises(ValidationError) as caught:
        read_filters(request(**query), Filters)
    assert field in caught.value.detail  # type: ignore[operator]


def query_of(address: str) -> dict[str, str]:
    return dict(parse_qsl(urlsplit(address).query))
