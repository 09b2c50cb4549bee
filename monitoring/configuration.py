"""The configuration in force: `current()`, by precedence environment > database > default.

Each process remembers what the database said for `LIFETIME` seconds, so a changed value holds
everywhere soon after. Without a database the last known values stay.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from django.conf import settings
from django.core.exceptions import SynchronousOnlyOperation
from django.db import Error, connection

from llamagpu.lib.config import LlamaConfig
from llamagpu.lib.env import Env, EnvError
from llamagpu.lib.prepared_query import PreparedQuery
from llamagpu.lib.setting_fields import FIELD_BY_NAME, SETTING_FIELDS, Applies
from monitoring.models import ConfigValue

logger = logging.getLogger(__name__)

#: Seconds that values are remembered; the oldest that a caller may see.
LIFETIME = 2.0

RESTART_FIELDS = tuple(field.name for field in SETTING_FIELDS if field.applies is Applies.RESTART)


@dataclass(frozen=True, slots=True)
class _Known:
    """What the database said at `read_at` (monotonic seconds): typed values by name."""

    values: Mapping[str, Any]
    read_at: float


@dataclass(frozen=True, slots=True)
class _Built:
    """The configuration that came of these three; it holds for as long as they are the same objects."""

    base: LlamaConfig
    values: Mapping[str, Any]
    frozen: Mapping[str, Any]
    config: LlamaConfig


#: Told of the new configuration where values have changed, in the process that noticed.
Listener = Callable[[LlamaConfig], None]
#: What the running workers have started with: names of RESTART fields to JSON, one a worker.
RunningReader = Callable[[], Iterable[Mapping[str, Any]]]

_NEVER = float("-inf")
_known = _Known({}, _NEVER)
_frozen: Mapping[str, Any] = {}
_built: _Built | None = None
_refreshing = threading.Lock()
# Every process asks every other second: Django takes longer to build it than a database to answer.
_ROWS = PreparedQuery(lambda: ConfigValue.objects.values_list("name", "value"))
_listeners: list[Listener] = []
_running_readers: list[RunningReader] = []
_complaints: set[str] = set()


def current() -> LlamaConfig:
    """The values that hold now; a changed one is seen within `LIFETIME` seconds.

    Values that a worker takes up at its start are the ones it started with, where it has said so by
    `freeze`. Costs at most one small query in `LIFETIME` seconds, and none on an event loop.
    """
    if _is_stale() and _refreshing.acquire(blocking=_known.read_at == _NEVER):
        try:
            if _is_stale():  # else another thread has just asked
                _refresh()
        finally:
            _refreshing.release()
    return _build(settings.LLAMA, _known.values, _frozen)


def _build(base: LlamaConfig, values: Mapping[str, Any], frozen: Mapping[str, Any]) -> LlamaConfig:
    """Only once for the same values: callers ask for each token, and a copy takes 17 microseconds."""
    global _built
    built = _built
    if (
        built is None
        or built.base is not base
        or built.values is not values
        or built.frozen is not frozen
    ):
        built = _built = _Built(base, values, frozen, replace(base, **{**values, **frozen}))
    return built.config


def refresh() -> None:
    """Read it now, from a thread that has a connection, so that others need not open one."""
    with _refreshing:
        _refresh()


def freeze() -> LlamaConfig:
    """Keep the present values of all RESTART fields for the rest of this process."""
    global _frozen
    config = current()
    _frozen = {name: getattr(config, name) for name in RESTART_FIELDS}
    return config


def forget() -> None:
    """Ask the database at the next call: something was just written."""
    global _known
    _known = _Known(_known.values, _NEVER)


def is_fixed_by_environment(name: str) -> bool:
    return Env().is_set(FIELD_BY_NAME[name].variable)


def add_listener(listener: Listener) -> None:
    _listeners.append(listener)


def register_running(reader: RunningReader) -> None:
    """An app above tells what its processes have started with."""
    _running_readers.append(reader)


def running_values() -> list[Mapping[str, Any]]:
    """RESTART fields as JSON, one mapping for each live worker."""
    return [values for reader in _running_readers for values in reader()]


def shown_restart_values() -> dict[str, Any]:
    """This process's RESTART fields as JSON: what a worker reports of itself."""
    config = current()
    return {name: FIELD_BY_NAME[name].kind.show(getattr(config, name)) for name in RESTART_FIELDS}


def _is_stale() -> bool:
    return time.monotonic() - _known.read_at >= LIFETIME


def _refresh() -> None:
    """Read the rows; where that fails the last known values stay for another while."""
    global _known
    before = values = _known.values
    try:
        values = _read()
        _complaints.discard("database")
    except SynchronousOnlyOperation:
        return  # on an event loop: the next thread that asks will refresh
    except Error as error:
        if _known.read_at == _NEVER and not values:
            logger.debug("no configuration in the database: %s", error)  # not migrated yet
        else:
            _complain("database", "the configuration in the database cannot be read: %s", error)
    _known = _Known(values, time.monotonic())
    if values != before:
        config = replace(settings.LLAMA, **values)
        for listener in _listeners:
            listener(config)


def _read() -> dict[str, Any]:
    was_open = connection.connection is not None
    try:
        rows = _ROWS.rows()
    finally:
        if not was_open and not connection.in_atomic_block:
            connection.close()  # a thread that only waits must not hold one
    return dict(_typed(rows))


def _typed(rows: Iterable[tuple[str, Any]]) -> Iterable[tuple[str, Any]]:
    """The rows that count: known, valid, and not overruled by the environment."""
    for name, value in rows:
        field = FIELD_BY_NAME.get(name)
        if field is None or Env(os.environ).is_set(field.variable):
            continue
        try:
            yield name, field.parse(value)
        except EnvError as error:
            _complain(name, "a configuration value in the database is not used: %s", error)


def _complain(about: str, message: str, error: Exception) -> None:
    """Once, until it is well again: this runs every other second."""
    if about not in _complaints:
        _complaints.add(about)
        logger.warning(message, error)
