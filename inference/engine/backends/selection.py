"""The design document's flowchart: CUDA if usable, else ROCm if usable, else the CPU."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from inference.engine.backends.base import BaseBackend
from inference.engine.backends.cpu import CpuBackend
from inference.engine.backends.cuda import CudaBackend
from inference.engine.backends.rocm import RocmBackend
from inference.engine.errors import BackendUnavailable

_IN_ORDER: tuple[type[BaseBackend], ...] = (CudaBackend, RocmBackend, CpuBackend)


@dataclass(frozen=True, slots=True)
class Selection:
    """The initialised backend, and why each one before it was passed over."""

    backend: BaseBackend
    rejected: dict[str, str] = field(default_factory=dict)


def select_backend(
    name: str = "auto", candidates: Sequence[type[BaseBackend]] = _IN_ORDER
) -> Selection:
    """The backend `name`, or for `auto` the first usable one.

    Raises BackendUnavailable with the reason of each backend that was asked for and is not usable.
    """
    rejected: dict[str, str] = {}
    for kind in candidates:
        if name not in ("auto", kind.name):
            continue
        backend = kind()
        if backend.initialize():
            return Selection(backend, rejected)
        rejected[kind.name] = backend.rejection or "it gave no reason"
    if not rejected:
        known = ", ".join(kind.name for kind in candidates)
        raise BackendUnavailable(f"backend {name!r} is not one of auto, {known}")
    reasons = "; ".join(f"{backend}: {reason}" for backend, reason in rejected.items())
    raise BackendUnavailable(f"backend {name} is not usable here: {reasons}", rejected)
