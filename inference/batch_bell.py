"""Rings for a batch of a file: one message wakes a worker to drive it on, one lease keeps others away.

The batch's row is the truth; a message may be lost or come twice.
"""

from __future__ import annotations

import secrets
import uuid
from dataclasses import dataclass, field

from kombu.exceptions import OperationalError

from inference.dispatch import QUEUE, BrokerUnavailableError
from llamagpu.celery import app
from llamagpu.lib.redis_client import SyncRedis

TASK_NAME = "inference.drive_file_batch"
#: Milliseconds after which a message counts as lost, and a driver that says nothing as dead.
RUNG_MS = 10_000
LEASE_MS = 12_000
# Of a batch's failures, seconds that they are remembered.
_FAILURES_LIFETIME = 3600
_RENEW = (
    "if redis.call('get', KEYS[1]) == ARGV[1] then"
    " return redis.call('pexpire', KEYS[1], ARGV[2]) end return 0"
)
_RELEASE = (
    "if redis.call('get', KEYS[1]) == ARGV[1] then return redis.call('del', KEYS[1]) end return 0"
)


def ring_batch(client: SyncRedis, batch_id: uuid.UUID) -> bool:
    """Have some worker look at a batch, unless one does or has been rung for.

    Raises RedisError and BrokerUnavailableError.
    """
    if client.exists(_key(batch_id, "lease")):
        return False
    if not client.set(_key(batch_id, "rung"), b"1", nx=True, px=RUNG_MS):
        return False
    try:
        app.send_task(TASK_NAME, args=[str(batch_id)], queue=QUEUE)
    except (OperationalError, OSError) as error:
        client.delete(_key(batch_id, "rung"))
        raise BrokerUnavailableError(str(error)) from error
    return True


@dataclass(slots=True)
class BatchLease:
    """The right to drive a batch. All methods raise RedisError."""

    client: SyncRedis
    batch_id: uuid.UUID
    _token: str = field(default_factory=lambda: secrets.token_hex(8))

    def take(self) -> bool:
        """Whether it is ours now; the message that brought us here is answered either way."""
        pipeline = self.client.pipeline(transaction=False)
        pipeline.delete(_key(self.batch_id, "rung"))
        pipeline.set(_key(self.batch_id, "lease"), self._token, nx=True, px=LEASE_MS)
        return bool(pipeline.execute()[1])

    def renew(self) -> bool:
        """False where it is another's meanwhile."""
        key = _key(self.batch_id, "lease")
        return bool(self.client.eval(_RENEW, 1, key, self._token, LEASE_MS))

    def release(self) -> None:
        self.client.eval(_RELEASE, 1, _key(self.batch_id, "lease"), self._token)


def count_failure(client: SyncRedis, batch_id: uuid.UUID) -> int:
    """How often driving this batch has failed of late, this time included. Raises RedisError."""
    key = _key(batch_id, "failures")
    pipeline = client.pipeline(transaction=True)
    pipeline.incr(key)
    pipeline.expire(key, _FAILURES_LIFETIME)
    return int(pipeline.execute()[0])


def _key(batch_id: uuid.UUID, name: str) -> str:
    return f"lg:filebatch:{batch_id}:{name}"
