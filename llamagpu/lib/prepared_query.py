"""A read that every call makes, whose SQL Django builds once a process.

To build a query's SQL takes Django ten times as long as SQLite takes to answer it.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any, Generic, TypeVar

from django.db import DEFAULT_DB_ALIAS, connection
from django.db.models import QuerySet
from django.db.models.query import get_related_populators

Row = TypeVar("Row")

Value = str | uuid.UUID | datetime
# Moments that no value has, each another one.
_MOMENTS = count(1)


class PreparedQuery(Generic[Row]):
    """`build(*values)` is a queryset of the default database, of rows or of a `values_list`.

    Its values are texts, UUIDs or moments and become parameters as they are: its form depends on their
    number alone. What it reads beside them, settings or the time, is read once.
    """

    def __init__(self, build: Callable[..., QuerySet[Any, Row]]) -> None:
        self._build = build
        self._plans: dict[int, _Plan] = {}

    def rows(self, *values: Value) -> list[Row]:
        """All rows for these values, read now. Raises django.db.Error."""
        plan = self._plans.get(len(values))
        if plan is None:
            stand_ins = [_stand_in_for(value) for value in values]
            plan = self._plans[len(values)] = _Plan(self._build(*stand_ins), stand_ins)
        return plan.run(values)

    def first(self, *values: Value) -> Row | None:
        """The first of them."""
        return next(iter(self.rows(*values)), None)


class _Plan:
    """The SQL of a queryset, where its values stand in it, and how its rows are read."""

    def __init__(self, queryset: Any, stand_ins: Sequence[Any]) -> None:
        compiler: Any = queryset.query.get_compiler(DEFAULT_DB_ALIAS)
        self._sql, self._parameters = compiler.as_sql()
        found = [adapted(stand_in) for stand_in in stand_ins]
        self._places = [
            (place, found.index(parameter))
            for place, parameter in enumerate(self._parameters)
            if parameter in found
        ]
        self._converters = compiler.get_converters([column[0] for column in compiler.select])
        self._model: Any = None
        if queryset._fields is None:  # else it is a `values_list`
            columns = compiler.klass_info["select_fields"]
            self._model = compiler.klass_info["model"]
            self._own = slice(columns[0], columns[-1] + 1)
            self._names = [column[0].target.attname for column in compiler.select[self._own]]
            self._relatives = get_related_populators(  # type: ignore[call-arg]  # a later Django's
                compiler.klass_info, compiler.select, DEFAULT_DB_ALIAS
            )

    def run(self, values: Sequence[Any]) -> list[Any]:
        parameters = list(self._parameters)
        for place, number in self._places:
            parameters[place] = adapted(values[number])
        with connection.cursor() as cursor:
            cursor.execute(self._sql, parameters)
            found = cursor.fetchall()
        return [self._read(list(row)) for row in found]

    def _read(self, row: list[Any]) -> Any:
        for place, (converters, expression) in self._converters.items():
            for convert in converters:
                row[place] = convert(row[place], expression, connection)
        if self._model is None:
            return tuple(row)
        instance = self._model.from_db(DEFAULT_DB_ALIAS, self._names, row[self._own])
        for relative in self._relatives:
            relative.populate(row, instance)
        return instance


def _stand_in_for(value: Value) -> Value:
    if isinstance(value, datetime):
        return datetime(1, 1, 1, tzinfo=UTC) + timedelta(microseconds=next(_MOMENTS))
    return uuid.uuid4() if isinstance(value, uuid.UUID) else uuid.uuid4().hex


def adapted(value: Any) -> Any:
    """As the database's driver takes it."""
    if isinstance(value, uuid.UUID) and not connection.features.has_native_uuid_field:
        return value.hex
    if isinstance(value, datetime):
        return connection.ops.adapt_datetimefield_value(value)
    return value
