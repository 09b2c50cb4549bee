"""The host's and this process's memory, for the engine's modules; `llamagpu.lib.memory` reads it."""

from __future__ import annotations

import ctypes
import gc
import logging

from llamagpu.lib.memory import available_bytes, resident_bytes

__all__ = ["available_bytes", "give_back_heap", "resident_bytes"]

logger = logging.getLogger(__name__)


def give_back_heap() -> None:
    """Collect what nobody holds and hand free memory to the system.

    glibc keeps it for the next allocation; the next one may be another process's.
    """
    gc.collect()
    try:
        ctypes.CDLL(None).malloc_trim(0)
    except (OSError, AttributeError):
        logger.debug("this C library cannot trim its heap")
