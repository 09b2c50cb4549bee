"""The configuration in force: `current()`."""

from __future__ import annotations

from django.conf import settings

from llamagpu.lib.config import LlamaConfig


def current() -> LlamaConfig:
    """The values that hold now, by precedence environment > database > default."""
    config: LlamaConfig = settings.LLAMA
    return config
