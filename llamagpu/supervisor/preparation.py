"""What must be in place before worker and web process start: database, first admin, model.

Each step is a management command of the app that owns it, called by name.
"""

from __future__ import annotations

import io
import json
from dataclasses import dataclass
from typing import Any

from django.core.management import call_command
from django.core.management.base import CommandError
from django.db import Error as DatabaseError
from django.db import connection, connections
from django.db.migrations.executor import MigrationExecutor

from llamagpu.supervisor.console import Console
from llamagpu.supervisor.errors import StartError, brief

_CONNECT_TIMEOUT = 5
_database: Any = connection  # its driver's parts are not in the public type


@dataclass(frozen=True, slots=True)
class FirstAdmin:
    """Who may sign in first; the file is there only where the password was made for them."""

    username: str
    password_file: str | None


def check_backend() -> None:
    """Raises StartError when LLAMA_BACKEND asks for what this machine has not."""
    try:
        call_command("doctor", backend=True)
    except CommandError as error:
        raise StartError(str(error)) from error


def check_database() -> None:
    """Raises StartError when the database does not answer."""
    try:
        if connection.vendor == "postgresql":
            # Not through the pool, which tries for long and then hides the reason.
            parameters = _database.get_connection_params()
            parameters["connect_timeout"] = _CONNECT_TIMEOUT
            _database.Database.connect(**parameters).close()
        else:
            connection.ensure_connection()
    except (DatabaseError, _database.Database.Error) as error:
        raise StartError(
            f"{_database_name()} cannot be reached: {brief(error)}. "
            "Start it, or mend DATABASE_URL; without DATABASE_URL a SQLite file is used."
        ) from error


def migrate(console: Console) -> None:
    """Bring the database to the code's state; quick when it is there already."""
    executor = MigrationExecutor(connection)
    plan = executor.migration_plan(executor.loader.graph.leaf_nodes())
    if not plan:
        return
    console.line("serve", f"migrating the database ({len(plan)} steps)")
    try:
        call_command("migrate", interactive=False, verbosity=0)
    except (CommandError, DatabaseError) as error:
        raise StartError(f"The database could not be migrated: {brief(error)}.") from error


def ensure_admin() -> FirstAdmin:
    said = io.StringIO()
    try:
        call_command("ensure_admin", json=True, stdout=said)
    except CommandError as error:
        raise StartError(str(error)) from error
    outcome = json.loads(said.getvalue())
    return FirstAdmin(outcome["username"], outcome["password_file"])


def ensure_models(*, may_pull: bool) -> None:
    """The built-in model on the disk, where it is the default; the catalogue up to date."""
    try:
        if may_pull:
            call_command("pull", if_needed=True)
        call_command("models_sync")
    except CommandError as error:
        raise StartError(str(error)) from error


def release_database() -> None:
    """Close what the steps above opened: a supervisor needs no connection for days."""
    connections.close_all()
    if connection.vendor == "postgresql":
        _database.close_pool()


def _database_name() -> str:
    """The database without its password."""
    database = connection.settings_dict
    if connection.vendor == "sqlite":
        return f"The database file {database['NAME']}"
    return f"The database {database['NAME']} on {database['HOST'] or 'this machine'}"
