"""What a job's lease says: who runs it, or who is just ending it before anybody could."""

from __future__ import annotations

import secrets
from dataclasses import dataclass

from inference.stream import JobKeys
from llamagpu.lib.redis_client import SyncRedis

#: Milliseconds after which the lease of a holder that says nothing any more is free.
LEASE_MS = 15_000
#: Stands for a worker's name in the lease of a job that is being cancelled. No worker is called so:
#: Celery's names hold an `@`.
CANCELLER = "cancel"
# Removes a lease only while it is still the one that was read.
_RELEASE = (
    "if redis.call('get', KEYS[1]) == ARGV[1] then return redis.call('del', KEYS[1]) end return 0"
)


@dataclass(frozen=True, slots=True)
class Holder:
    """Value of a lease: which start of which worker runs which attempt."""

    worker: str
    instance: str
    attempt: int

    @classmethod
    def canceller(cls) -> Holder:
        """One who holds a job only to end it; differs from every other one."""
        return cls(CANCELLER, secrets.token_hex(6), 0)

    @property
    def is_canceller(self) -> bool:
        return self.worker == CANCELLER

    def encode(self) -> bytes:
        return f"{self.worker}|{self.instance}|{self.attempt}".encode()

    @classmethod
    def decode(cls, value: bytes) -> Holder:
        worker, instance, attempt = value.decode().rsplit("|", 2)
        return cls(worker, instance, int(attempt))


def free(client: SyncRedis, job_id: str, value: bytes) -> None:
    """Remove the lease of a job while its value is still `value`. Raises RedisError."""
    client.eval(_RELEASE, 1, JobKeys(job_id).lease, value)
