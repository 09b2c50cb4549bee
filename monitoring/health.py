"""Health as a list of named probes. Apps above register theirs, so this module names none of them."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class ProbeResult:
    """`detail` says what was found, or why the probe failed and how to mend it."""

    name: str
    healthy: bool
    detail: str
    latency: float


class ProbeFailedError(Exception):
    """Raised by a probe; the message is shown to the operator."""


#: A probe returns what it found, or raises ProbeFailedError.
Probe = Callable[[], str]

#: Parts that come and go, such as workers: each with what was found of it.
PartsReader = Callable[[], list["ProbeResult"]]
#: Has one token generated for a caller, within a time limit.
DeepCheck = Callable[[Any], "ProbeResult"]

_probes: dict[str, Probe] = {}
_parts: dict[str, PartsReader] = {}
_deep_check: DeepCheck | None = None


def register_probe(name: str, probe: Probe) -> None:
    _probes[name] = probe


def register_parts(name: str, reader: PartsReader) -> None:
    """Parts whose life the status tells; readiness does not hang on any single one of them."""
    _parts[name] = reader


def register_deep_check(check: DeepCheck) -> None:
    global _deep_check
    _deep_check = check


def check_parts() -> list[ProbeResult]:
    """Every part that is known, alive or silent. Never raises."""
    found: list[ProbeResult] = []
    for name, reader in sorted(_parts.items()):
        try:
            found += reader()
        except Exception as error:
            logger.warning("the parts %s cannot be read", name, exc_info=error)
    return found


def check_deep(request: Any) -> ProbeResult:
    """Whether a token comes out, asked for in the name of the caller of `request`."""
    if _deep_check is None:
        return ProbeResult("deep", False, "nothing here generates tokens", 0.0)
    return _deep_check(request)


def check_health() -> list[ProbeResult]:
    """Runs every probe. A probe that breaks is a failed one: health itself never raises."""
    return [_run(name, probe) for name, probe in sorted(_probes.items())]


def _run(name: str, probe: Probe) -> ProbeResult:
    started = time.perf_counter()
    try:
        detail, healthy = probe(), True
    except ProbeFailedError as error:
        detail, healthy = str(error), False
    except Exception as error:
        logger.warning("the probe %s broke", name, exc_info=error)
        detail, healthy = f"the probe broke: {type(error).__name__}", False
    return ProbeResult(name, healthy, detail, time.perf_counter() - started)
