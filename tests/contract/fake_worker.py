"""The product's worker with the fake engine: `celery -A tests.contract.fake_worker`."""

from __future__ import annotations

from inference.worker import engine_process
from llamagpu.celery import app
from tests.fakes import COMMAND

__all__ = ["app"]

# Before the worker reads it: Celery imports the tasks, and so the runtime, later.
engine_process.ENGINE_COMMAND = COMMAND
