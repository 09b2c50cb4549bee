"""The host's and this process's memory, for the engine's modules; `llamagpu.lib.memory` reads it."""

from __future__ import annotations

from llamagpu.lib.memory import available_bytes, resident_bytes

__all__ = ["available_bytes", "resident_bytes"]
