"""Writes that every call makes, without building SQL anew: Django's own take longer than the database.

No signals are sent, and nothing is asked back: for models whose keys are known before.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

from django.db import DEFAULT_DB_ALIAS, connection
from django.db.models import Model


def insert_rows(rows: Sequence[Model]) -> None:
    """Write new rows of one model, with all their columns. Raises django.db.Error."""
    if not rows:
        return
    statement, fields = _insertion(type(rows[0]))
    values = [
        [field.get_db_prep_save(field.pre_save(row, add=True), connection) for field in fields]
        for row in rows
    ]
    with connection.cursor() as cursor:
        cursor.executemany(statement, values)
    for row in rows:
        row._state.adding, row._state.db = False, DEFAULT_DB_ALIAS


def update_rows(
    model: type[Model], changes: Mapping[str, Any], condition: str, parameters: Sequence[Any]
) -> int:
    """Set `changes`, by the names of fields, where `condition` holds; how many rows it was.

    `condition` is SQL with a `%s` for each of `parameters`, which are as the driver takes them.
    Raises django.db.Error.
    """
    statement, fields = _change(model, tuple(changes))
    values = [
        field.get_db_prep_save(value, connection)
        for field, value in zip(fields, changes.values(), strict=True)
    ]
    with connection.cursor() as cursor:
        cursor.execute(f"{statement} WHERE {condition}", [*values, *parameters])
        return int(cursor.rowcount)


@cache
def _insertion(model: type[Model]) -> tuple[str, Sequence[Any]]:
    fields = model._meta.concrete_fields
    names = ", ".join(_quoted(str(field.column)) for field in fields)
    places = ", ".join(["%s"] * len(fields))
    table = _quoted(model._meta.db_table)
    return f"INSERT INTO {table} ({names}) VALUES ({places})", fields  # noqa: S608  names of models


@cache
def _change(model: type[Model], names: tuple[str, ...]) -> tuple[str, Sequence[Any]]:
    fields: list[Any] = [model._meta.get_field(name) for name in names]
    places = ", ".join(f"{_quoted(field.column)} = %s" for field in fields)
    table = _quoted(model._meta.db_table)
    return f"UPDATE {table} SET {places}", fields  # noqa: S608  names of models


def _quoted(name: str) -> str:
    return connection.ops.quote_name(name)
