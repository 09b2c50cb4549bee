"""Probes of what everything stands on: database and Redis.

The answer is public, so it names the component; the log has the error with its addresses.
"""

from __future__ import annotations

import logging
import time

import redis
from django.conf import settings
from django.db import Error, connection
from django.db.migrations.executor import MigrationExecutor

from llamagpu.lib.redis_client import sync_client
from monitoring.health import ProbeFailedError, register_probe

logger = logging.getLogger(__name__)

_MIGRATED_FOR = 300.0
_migrated_until = float("-inf")


def register() -> None:
    register_probe("database", probe_database)
    register_probe("redis", probe_redis)
    register_probe("migrations", probe_migrations)


def probe_database() -> str:
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
            cursor.fetchone()
    except Error as error:
        logger.warning("the database does not answer: %s", error)
        raise ProbeFailedError("the database does not answer") from error
    return f"{connection.vendor} answers"


def probe_migrations() -> str:
    """Whether the tables are those that this code expects. Once they are, that is remembered a while."""
    global _migrated_until
    if time.monotonic() < _migrated_until:
        return "all applied"
    try:
        executor = MigrationExecutor(connection)
        missing = executor.migration_plan(executor.loader.graph.leaf_nodes())
    except Error as error:
        logger.warning("the migrations cannot be read: %s", error)
        raise ProbeFailedError("the database does not answer") from error
    if missing:
        raise ProbeFailedError(f"{len(missing)} are not applied: run manage.py migrate")
    _migrated_until = time.monotonic() + _MIGRATED_FOR
    return "all applied"


def probe_redis() -> str:
    try:
        info: dict[str, str] = sync_client(settings.REDIS_URL).info("server")
    except redis.RedisError as error:
        logger.warning("Redis does not answer: %s", error)
        raise ProbeFailedError("Redis does not answer") from error
    name = str(info.get("server_name", "redis"))
    return f"{name} {info.get(f'{name}_version', '')} answers"
