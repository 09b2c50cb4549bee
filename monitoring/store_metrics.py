"""How Redis and the database fare, as each serving process sees them every few seconds."""

from __future__ import annotations

import time
from functools import cache

import redis
from django.conf import settings
from django.db import Error, connection

from llamagpu.http.database import keep_connections, release_connections
from llamagpu.lib.redis_client import SyncRedis, impatient_client
from monitoring.metrics import REGISTRY, Gauge, Merge

REDIS_SECONDS = Gauge("redis_ping_seconds", "The slowest PING of any process.", merge=Merge.MAX)
REDIS_MEMORY = Gauge("redis_memory_bytes", "Memory that Redis holds for data.", merge=Merge.LAST)
REDIS_CLIENTS = Gauge("redis_clients", "Open connections to Redis.", merge=Merge.LAST)
REDIS_KEYS = Gauge("redis_keys", "Keys of all kinds.", merge=Merge.LAST)
DATABASE_UP = Gauge(
    "database_up", "1 where every process reaches the database, else 0.", merge=Merge.MIN
)
DATABASE_SECONDS = Gauge(
    "database_ping_seconds", "The slowest SELECT 1 of any process.", merge=Merge.MAX
)

_INTERVAL = 5.0
_next_look = 0.0


def register() -> None:
    REGISTRY.add_source(look)


def look() -> None:
    """A few commands every few seconds; a Redis that is away raises nothing here."""
    global _next_look
    now = time.monotonic()
    if now < _next_look:
        return
    _next_look = now + _INTERVAL
    _look_at_redis(_client())
    _look_at_database()


@cache
def _client() -> SyncRedis:
    return impatient_client(settings.REDIS_URL)


def _look_at_redis(client: SyncRedis) -> None:
    try:
        began = time.perf_counter()
        client.ping()
        REDIS_SECONDS.set(time.perf_counter() - began)
        REDIS_MEMORY.set(float(client.info("memory").get("used_memory", 0)))
        REDIS_CLIENTS.set(float(client.info("clients").get("connected_clients", 0)))
        REDIS_KEYS.set(float(client.dbsize()))
    except redis.RedisError:
        # What is known of Redis lies in Redis: whoever reads finds it away by itself.
        for gauge in (REDIS_SECONDS, REDIS_MEMORY, REDIS_CLIENTS, REDIS_KEYS):
            gauge.clear()


def _look_at_database() -> None:
    keep_connections()
    try:
        began = time.perf_counter()
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
            cursor.fetchone()
        DATABASE_SECONDS.set(time.perf_counter() - began)
        DATABASE_UP.set(1)
    except Error:
        DATABASE_SECONDS.clear()
        DATABASE_UP.set(0)
        connection.close()
    finally:
        release_connections()
