"""How one model shall be loaded where that differs from the configuration."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from llamagpu.lib.memory import MemoryLimit

BACKENDS = ("auto", "cuda", "rocm", "cpu")
MAX_LEVEL = 3
MAX_DEVICE = 1023


@dataclass(frozen=True, slots=True)
class LoadOptions:
    """None leaves a value to the configuration. `max_memory` is a size or a share: `2GiB`, `25%`."""

    backend: str | None = None
    optimization_level: int | None = None
    max_memory: str | None = None
    devices: tuple[int, ...] | None = None

    @classmethod
    def from_row(cls, stored: dict[str, Any]) -> LoadOptions:
        """From what `as_row` made of it. Fields that a later version wrote are left out."""
        known = {name: stored.get(name) for name in cls.__dataclass_fields__}
        if known["devices"] is not None:
            known["devices"] = tuple(known["devices"])
        return cls(**known)

    def as_row(self) -> dict[str, Any]:
        """The values that are set, ready for JSON."""
        values: dict[str, Any] = {
            "backend": self.backend,
            "optimization_level": self.optimization_level,
            "max_memory": self.max_memory,
            "devices": None if self.devices is None else list(self.devices),
        }
        return {name: value for name, value in values.items() if value is not None}

    def max_memory_bytes(self, total: int | None) -> int | None:
        """The bound in bytes on a machine of `total` bytes; None where there is none."""
        return MemoryLimit.parse(self.max_memory).resolve(total) if self.max_memory else None
