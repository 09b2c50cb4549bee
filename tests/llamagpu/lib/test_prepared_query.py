"""A prepared query answers as the queryset that it was built from does."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from accounts.models import ApiKey, TokenReservation
from llamagpu.lib.prepared_query import PreparedQuery
from tests.conftest import Caller

BY_NAME: PreparedQuery[ApiKey] = PreparedQuery(
    lambda name: ApiKey.objects.select_related("user", "replaces").filter(name=name).order_by("pk")
)
MADE_BETWEEN: PreparedQuery[ApiKey] = PreparedQuery(
    lambda since, until: ApiKey.objects.filter(created_at__gte=since, created_at__lt=until)
)
TOKENS: PreparedQuery[tuple[Any, ...]] = PreparedQuery(
    lambda *ids: (
        TokenReservation.objects.filter(pk__in=ids)
        .order_by("tokens")
        .values_list("job_id", "tokens", "user__username", "api_key__prefix")
    )
)


def make_key(caller: Caller, name: str, **columns: Any) -> ApiKey:
    prefix = uuid.uuid4().hex[:8]
    return ApiKey.objects.create(user=caller.user, name=name, prefix=prefix, **columns)


def reserve(caller: Caller, tokens: int) -> uuid.UUID:
    made = TokenReservation.objects.create(
        job_id=uuid.uuid4(), user=caller.user, role_slug="user", model_slug="m", tokens=tokens
    )
    return made.job_id


def test_it_reads_rows_with_their_relatives_in_one_query(member: Caller, admin: Caller) -> None:
    make_key(admin, "another")
    first = make_key(member, "mine", scopes=["infer"])
    second = make_key(member, "mine", replaces=first)
    with CaptureQueriesContext(
        connection,
    ) as captured:
        found = BY_NAME.rows("mine")
        owners = [key.user.username for key in found]
        replaced = [key.replaces for key in found]
    assert found == [first, second]
    assert owners == [member.user.username] * 2
    assert replaced == [None, first]
    assert len(captured) == 1
    expected = ApiKey.objects.get(pk=first.pk)
    for column in ApiKey._meta.concrete_fields:
        assert getattr(found[0], column.attname) == getattr(expected, column.attname)


def test_it_sees_what_was_written_since(member: Caller) -> None:
    key = make_key(member, "mine")
    assert BY_NAME.first("mine") == key
    ApiKey.objects.filter(pk=key.pk).update(retention="none")
    assert BY_NAME.rows("mine")[0].retention == "none"
    key.delete()
    assert BY_NAME.first("mine") is None


@pytest.mark.parametrize("name", ["100%", "it's", "%s", "\U0001f600"])
def test_a_value_is_never_part_of_the_statement(member: Caller, name: str) -> None:
    key = make_key(member, name)
    make_key(member, "mine")
    assert BY_NAME.rows(name) == [key]


def test_any_number_of_ids_and_tuples(member: Caller) -> None:
    ids = [reserve(member, tokens) for tokens in (30, 10, 20)]
    name = member.user.username
    assert TOKENS.rows(*ids) == [
        (ids[1], 10, name, None),
        (ids[2], 20, name, None),
        (ids[0], 30, name, None),
    ]
    assert TOKENS.rows(ids[2]) == [(ids[2], 20, name, None)]
    assert TOKENS.rows(uuid.uuid4()) == []


def test_moments_become_parameters_each_in_its_place(member: Caller) -> None:
    moments = [datetime(2026, 11, day, 12, 30, 0, 250, tzinfo=UTC) for day in (1, 2, 3)]
    first, second = make_key(member, "first"), make_key(member, "second")
    for key, moment in zip((first, second), moments, strict=False):
        ApiKey.objects.filter(pk=key.pk).update(created_at=moment)
    assert MADE_BETWEEN.rows(moments[0], moments[1]) == [first]
    assert MADE_BETWEEN.rows(moments[1], moments[2]) == [second]
    assert MADE_BETWEEN.rows(moments[1], moments[0]) == []
