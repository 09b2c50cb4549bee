"""What the evaluation found last, for web processes: in one key that expires with it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import msgspec

from llamagpu.lib.redis_client import SyncRedis

#: Seconds after which an evaluation that says nothing is not running.
LIFETIME = 15
_KEY = "lg:alerts:evaluation"
_MOST_PENDING = 200


@dataclass(frozen=True, slots=True)
class Pending:
    """A condition that holds, but not for long enough yet."""

    rule_id: int
    labels: dict[str, str]
    value: float
    held: float


@dataclass(frozen=True, slots=True)
class EvaluationReport:
    """`paused` says why nothing is evaluated; `problems` are rules that cannot be, by id."""

    unix: float
    num_rules: int = 0
    num_firing: int = 0
    paused: str = ""
    pending: list[Pending] = field(default_factory=list)
    problems: dict[str, str] = field(default_factory=dict)
    suppressed: int = 0


_encode = msgspec.json.Encoder().encode
_decoder = msgspec.json.Decoder(EvaluationReport)


def tell(client: SyncRedis, report: EvaluationReport) -> None:
    """Raises RedisError."""
    del report.pending[_MOST_PENDING:]
    client.set(_KEY, _encode(report), ex=LIFETIME)


def last_report(client: SyncRedis) -> EvaluationReport | None:
    """None where no monitor evaluates. Raises RedisError."""
    payload: Any = client.get(_KEY)
    try:
        return None if payload is None else _decoder.decode(payload)
    except msgspec.DecodeError:
        return None  # another version's
