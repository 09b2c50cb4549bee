"""The product's worker with the instant engine: `celery -A inference.benchmark.portal.instant_worker`."""

from __future__ import annotations

from inference.benchmark.portal.instant_engine import COMMAND
from inference.worker import engine_process
from llamagpu.celery import app

__all__ = ["app"]

# Before the worker reads it: Celery imports the tasks, and so the runtime, later.
engine_process.ENGINE_COMMAND = COMMAND
