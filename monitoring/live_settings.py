"""What a process does when the configuration changes: values that others read from elsewhere."""

from __future__ import annotations

import logging

from django.conf import settings

from llamagpu.lib.config import LlamaConfig
from monitoring.configuration import add_listener

logger = logging.getLogger(__name__)

# Those that `llamagpu.lib.log_format.logging_config` gives the configured level.
_LEVELLED = ("", "django", "django.server")


def register() -> None:
    add_listener(take_up)


def take_up(config: LlamaConfig) -> None:
    """The log's level and the largest body, in this process."""
    for name in _LEVELLED:
        logging.getLogger(name).setLevel(config.log_level)
    # Django reads it at every request, and nothing but the settings can tell it.
    settings.DATA_UPLOAD_MAX_MEMORY_SIZE = config.max_body_bytes
    logger.info("the configuration has changed")
