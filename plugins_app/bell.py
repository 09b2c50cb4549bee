"""Wakes the workers when somebody wants something else of a plugin.

Workers also ask `wanted_generation` every second.
"""

from __future__ import annotations

from django.conf import settings

from llamagpu.lib import bell
from llamagpu.lib.redis_client import SyncRedis

_CHANNEL = "lg:plugins"


def ring() -> None:
    """Have every worker look now. A Redis that is away is no obstacle."""
    bell.ring(settings.REDIS_URL, _CHANNEL)


class Bell(bell.Bell):
    """The listening end, for one thread."""

    def __init__(self, client: SyncRedis) -> None:
        super().__init__(client, _CHANNEL)
