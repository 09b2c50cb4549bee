"""Triggers by which the database itself refuses to change or remove audit rows.

They stop whatever goes past the ORM. One door is left: a row that an `AuditSeal` covers may go, and
the archiver writes the seal and removes the rows in one transaction. Who may drop triggers can still
tamper; then the hash chain shows it.
"""

from __future__ import annotations

from typing import Any

_TABLE = "monitoring_auditlog"
_CHANGED = "audit rows are never changed"
_REMOVED = "audit rows are never removed before they are sealed"
_UNSEALED = "NOT EXISTS (SELECT 1 FROM monitoring_auditseal WHERE last_id >= OLD.id)"
_NAMES = ("audit_rows_stay", "audit_rows_keep")

_SQLITE_INSTALL = (
    f"CREATE TRIGGER IF NOT EXISTS audit_rows_keep BEFORE UPDATE ON {_TABLE} "
    f"BEGIN SELECT RAISE(ABORT, '{_CHANGED}'); END",
    f"CREATE TRIGGER IF NOT EXISTS audit_rows_stay BEFORE DELETE ON {_TABLE} WHEN {_UNSEALED} "
    f"BEGIN SELECT RAISE(ABORT, '{_REMOVED}'); END",
)
_SQLITE_REMOVE = tuple(f"DROP TRIGGER IF EXISTS {name}" for name in _NAMES)

_POSTGRES_INSTALL = (
    f"""CREATE OR REPLACE FUNCTION audit_rows_guard() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        IF TG_OP = 'UPDATE' THEN
            RAISE EXCEPTION '{_CHANGED}';
        ELSIF TG_OP = 'TRUNCATE' OR {_UNSEALED} THEN
            RAISE EXCEPTION '{_REMOVED}';
        END IF;
        RETURN OLD;
    END $$""",
    f"CREATE OR REPLACE TRIGGER audit_rows_keep BEFORE UPDATE OR DELETE ON {_TABLE} "
    "FOR EACH ROW EXECUTE FUNCTION audit_rows_guard()",
    f"CREATE OR REPLACE TRIGGER audit_rows_stay BEFORE TRUNCATE ON {_TABLE} "
    "FOR EACH STATEMENT EXECUTE FUNCTION audit_rows_guard()",
)
_POSTGRES_REMOVE = (
    *(f"DROP TRIGGER IF EXISTS {name} ON {_TABLE}" for name in _NAMES),
    "DROP FUNCTION IF EXISTS audit_rows_guard()",
)


def install(connection: Any) -> None:
    """Put the triggers in place; those that are there stay. Other databases have none."""
    _execute(connection, _SQLITE_INSTALL, _POSTGRES_INSTALL)


def remove(connection: Any) -> None:
    _execute(connection, _SQLITE_REMOVE, _POSTGRES_REMOVE)


def is_installed(connection: Any) -> bool:
    """Whether the database still guards the log."""
    query = {
        "sqlite": "SELECT name FROM sqlite_master WHERE type = 'trigger' AND tbl_name = %s",
        "postgresql": "SELECT tgname FROM pg_trigger WHERE tgrelid = %s::regclass AND tgenabled = 'O'",
    }.get(connection.vendor)
    if query is None:
        return False
    with connection.cursor() as cursor:
        cursor.execute(query, [_TABLE])
        return {row[0] for row in cursor.fetchall()} >= set(_NAMES)


def _execute(connection: Any, sqlite: tuple[str, ...], postgres: tuple[str, ...]) -> None:
    statements = {"sqlite": sqlite, "postgresql": postgres}.get(connection.vendor, ())
    with connection.cursor() as cursor:
        for statement in statements:
            cursor.execute(statement)
