"""Tracing as it is set, in a process that serves."""

from __future__ import annotations

import logging

from django.conf import settings

from llamagpu.lib import tracing
from monitoring.configuration import current

logger = logging.getLogger(__name__)


def start_tracing(component: str) -> bool:
    """Whether spans are sent from now on; `component` is web or worker."""
    endpoint, config = settings.LLAMA.trace_endpoint, current()
    try:
        tracing.start(
            endpoint,
            component,
            sampled_percent=config.trace_sample_percent,
            tells_content=config.trace_content,
        )
    except ImportError as error:
        # Serving goes on: who traces wants to look at it, not to end it.
        logger.error("nothing is traced: pip install -r requirements-tracing.txt (%s)", error)
        return False
    return bool(endpoint)
