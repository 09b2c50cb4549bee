"""What is to run: one plugin with its settings, as the database wants it. No Django."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any

from plugins_app.base import Hook


class Tier(StrEnum):
    """Where a plugin comes from, and with that how far it is trusted: only core runs in our process."""

    CORE = "core"
    COMMUNITY = "community"
    USER = "user"

    @property
    def is_isolated(self) -> bool:
        return self is not Tier.CORE


class FailurePolicy(StrEnum):
    """What a fault of the plugin means for the request that met it."""

    FAIL_OPEN = "fail_open"
    FAIL_CLOSED = "fail_closed"


@dataclass(frozen=True, slots=True)
class Budget:
    """The most that one plugin may take. Seconds, bytes; memory and processes of an isolated one."""

    call_timeout: float = 2.0
    start_timeout: float = 10.0
    max_output_bytes: int = 4 * 1024 * 1024
    memory_bytes: int = 512 * 1024 * 1024
    max_processes: int = 16
    max_open_files: int = 64


@dataclass(frozen=True, slots=True)
class PluginSpec:
    """`path` is the plugin's file or package folder; `sha256` what it must have when it is loaded.

    `models` and `roles` are slugs that it applies to; empty: to all. `generation` counts its changes:
    a greater one takes the place of what runs.
    """

    slug: str
    version: str
    tier: Tier
    path: Path
    sha256: str
    hooks: tuple[Hook, ...]
    config: Mapping[str, Any] = field(default_factory=dict)
    order: int = 100
    policy: FailurePolicy = FailurePolicy.FAIL_OPEN
    models: tuple[str, ...] = ()
    roles: tuple[str, ...] = ()
    budget: Budget = Budget()
    generation: int = 0
