"""Probes of what everything stands on: database and Redis.

The answer is public, so it names the component; the log has the error with its addresses.
"""

from __future__ import annotations

import logging

import redis
from django.conf import settings
from django.db import Error, connection

from llamagpu.lib.redis_client import sync_client
from monitoring.health import ProbeFailedError, register_probe

logger = logging.getLogger(__name__)


def register() -> None:
    register_probe("database", probe_database)
    register_probe("redis", probe_redis)


def probe_database() -> str:
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
            cursor.fetchone()
    except Error as error:
        logger.warning("the database does not answer: %s", error)
        raise ProbeFailedError("the database does not answer") from error
    return f"{connection.vendor} answers"


def probe_redis() -> str:
    try:
        info: dict[str, str] = sync_client(settings.REDIS_URL).info("server")
    except redis.RedisError as error:
        logger.warning("Redis does not answer: %s", error)
        raise ProbeFailedError("Redis does not answer") from error
    name = str(info.get("server_name", "redis"))
    return f"{name} {info.get(f'{name}_version', '')} answers"
