"""What subjects have used and what is set aside for them, all of it seen at one moment."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date

from django.db import connection

# Written by hand, since every admitted job asks for it inside its transaction and the ORM takes
# longer to put such a statement together than the database to answer it. One line for a subject:
# its number, live jobs, tokens set aside, tokens of the day, tokens since the month began.
_SQL = """
SELECT %s,
  (SELECT COUNT(*) FROM accounts_tokenreservation WHERE RESERVED = %s),
  (SELECT COALESCE(SUM(tokens), 0) FROM accounts_tokenreservation WHERE RESERVED = %s),
  COALESCE(SUM(CASE WHEN day = %s THEN prompt_tokens + completion_tokens ELSE 0 END), 0),
  COALESCE(SUM(prompt_tokens + completion_tokens), 0)
FROM accounts_usageday WHERE USED = %s AND day >= %s AND day <= %s
"""


@dataclass(frozen=True, slots=True)
class Account:
    """Whose balance: the statement that reads it, the values of its columns in both tables."""

    statement: str
    reserved_by: int | str
    used_by: int | str


@dataclass(frozen=True, slots=True)
class Balance:
    """Live jobs, tokens set aside for them, tokens used on the day and since its month began."""

    jobs: int
    reserved: int
    used_today: int
    used_this_month: int


def _statement(reserved: str, used: str) -> str:
    return _SQL.replace("RESERVED", reserved).replace("USED", used)


_OF_USER = _statement("user_id", "user_id")
_OF_KEY = _statement("api_key_id", "key_prefix")
_OF_ROLE = _statement("role_slug", "role_slug")
_OF_MODEL = _statement("model_slug", "model_slug")


def account_of_user(user_id: int) -> Account:
    return Account(_OF_USER, user_id, user_id)


def account_of_key(key_id: int, prefix: str) -> Account:
    return Account(_OF_KEY, key_id, prefix)


def account_of_role(slug: str) -> Account:
    return Account(_OF_ROLE, slug, slug)


def account_of_model(slug: str) -> Account:
    return Account(_OF_MODEL, slug, slug)


def read_balances(accounts: Sequence[Account], day: date) -> list[Balance]:
    """The balances, in order, as of one statement.

    Two statements could miss a job that ends between them: neither set aside nor used any more.
    """
    if not accounts:
        return []
    today = connection.ops.adapt_datefield_value(day)
    first = connection.ops.adapt_datefield_value(day.replace(day=1))
    values: list[int | str | date | None] = []
    for number, account in enumerate(accounts):
        reserved, used = account.reserved_by, account.used_by
        values += [number, reserved, reserved, today, used, first, today]
    statement = " UNION ALL ".join(account.statement for account in accounts)
    with connection.cursor() as cursor:
        cursor.execute(statement, values)
        rows = sorted(cursor.fetchall())
    return [Balance(*(int(value) for value in row[1:])) for row in rows]
