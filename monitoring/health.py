"""Health as a list of named probes. Apps above register theirs, so this module names none of them."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass

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

_probes: dict[str, Probe] = {}


def register_probe(name: str, probe: Probe) -> None:
    _probes[name] = probe


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
