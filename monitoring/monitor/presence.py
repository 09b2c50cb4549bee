"""Which monitors live and what each has read last, as they report with every sample.

A report is a key that expires: one that is killed vanishes, and no clocks are compared.
"""

from __future__ import annotations

from dataclasses import dataclass

import msgspec

from llamagpu.lib.redis_client import SyncRedis
from monitoring.collectors.node import NodeReading

#: Seconds that a report holds, beyond the time to the next one.
LIFETIME = 8
_NAMES = "lg:monitors"


@dataclass(frozen=True, slots=True)
class MonitorReport:
    """One node's monitor. `instance` changes at every start, `dropped` counts lost samples."""

    node: str
    instance: str
    pid: int
    started_unix: float
    interval: float
    is_leader: bool
    dropped: int
    reading: NodeReading


_encode = msgspec.json.Encoder().encode
_decoder = msgspec.json.Decoder(MonitorReport)


def announce(client: SyncRedis, report: MonitorReport) -> None:
    """Say what this node's monitor has read. Raises RedisError."""
    pipeline = client.pipeline(transaction=False)
    pipeline.set(_key(report.node), _encode(report), ex=LIFETIME + int(report.interval))
    pipeline.sadd(_NAMES, report.node)
    pipeline.execute()


def withdraw(client: SyncRedis, node: str) -> None:
    """The monitor ends as planned: nobody shall miss it. Raises RedisError."""
    pipeline = client.pipeline(transaction=False)
    pipeline.delete(_key(node))
    pipeline.srem(_NAMES, node)
    pipeline.execute()


def live_monitors(client: SyncRedis) -> dict[str, MonitorReport | None]:
    """By node; None for one that has fallen silent. Raises RedisError."""
    nodes = sorted(name.decode() for name in client.smembers(_NAMES))
    if not nodes:
        return {}
    found: dict[str, MonitorReport | None] = {}
    for node, payload in zip(nodes, client.mget([_key(node) for node in nodes]), strict=True):
        try:
            found[node] = None if payload is None else _decoder.decode(payload)
        except msgspec.DecodeError:
            continue  # another version's: its own web processes can read it
    return found


def _key(node: str) -> str:
    return f"lg:monitor:{node}"
