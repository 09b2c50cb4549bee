"""The header that tells how much of a call's time was the portal's own and not the engine's."""

from __future__ import annotations

import time
from typing import Any

OVERHEAD_HEADER = "X-LlamaGPU-Overhead-Ms"


def tell_overhead_so_far(request: Any) -> None:
    """For what is answered before its engine has ended: the time until now, when its jobs are queued."""
    elapsed = time.perf_counter() - request.received_at
    request.answer_headers[OVERHEAD_HEADER] = f"{elapsed * 1000:.1f}"
