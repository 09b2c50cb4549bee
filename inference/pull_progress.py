"""How far a pull is, as the worker that runs it says; and which worker that is.

Both are keys that expire: a worker that is killed holds neither, and another one goes on.
"""

from __future__ import annotations

from dataclasses import dataclass

from inference.wire import WireError, decode_plain, encode_plain
from llamagpu.lib.redis_client import SyncRedis

#: Seconds that a word about a pull counts.
LIFETIME = 10


@dataclass(frozen=True, slots=True)
class PullProgress:
    """`fraction` is 0..1 of `stage`; bytes and estimates (bytes a second, seconds) where known."""

    stage: str
    fraction: float
    bytes: int | None = None
    total: int | None = None
    rate: float | None = None
    seconds_left: float | None = None
    worker: str = ""


def tell(client: SyncRedis, slug: str, progress: PullProgress) -> None:
    """Raises RedisError."""
    client.set(_key(slug), encode_plain(progress), ex=LIFETIME)


def read(client: SyncRedis, slug: str) -> PullProgress | None:
    """None where no worker pulls the model. Raises RedisError."""
    payload = client.get(_key(slug))
    if payload is None:
        return None
    try:
        return decode_plain(payload, PullProgress)
    except WireError:
        return None  # a worker of another version


def forget(client: SyncRedis, slug: str) -> None:
    """Raises RedisError."""
    client.delete(_key(slug))


def take(client: SyncRedis, slug: str, holder: str) -> bool:
    """Become the one who pulls a model, or stay it. Raises RedisError."""
    if client.set(_lease(slug), holder, nx=True, ex=LIFETIME):
        return True
    if client.get(_lease(slug)) != holder.encode():
        return False
    # What was told last holds as long as somebody is at it.
    pipeline = client.pipeline(transaction=False)
    pipeline.expire(_lease(slug), LIFETIME)
    pipeline.expire(_key(slug), LIFETIME)
    pipeline.execute()
    return True


def give_up(client: SyncRedis, slug: str, holder: str) -> None:
    """Let another one pull it. Raises RedisError."""
    if client.get(_lease(slug)) == holder.encode():
        client.delete(_lease(slug))


def _key(slug: str) -> str:
    return f"lg:pull:{slug}"


def _lease(slug: str) -> str:
    return f"lg:pull:{slug}:lease"
