"""Removes, once a minute, what has reached its end: texts of jobs, jobs of long ago, files."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

from django.db import Error, connections

from inference.job_contents import remove_due
from inference.services.answers import forget_vectors
from inference.services.conversations import remove_outlived
from inference.services.files import remove_due_files, remove_strays
from inference.services.idempotency import remove_expired
from inference.services.pruning import prune_history

logger = logging.getLogger(__name__)

_INTERVAL = 60.0
#: What is removed, and by what: each takes away some of it and says how many.
_DUTIES: dict[str, Callable[[], int]] = {
    "texts of ended jobs": remove_due,
    "vectors of yesterday": forget_vectors,
    "keys of calls of yesterday": remove_expired,
    "jobs and batches of long ago": prune_history,
    "files": remove_due_files,
    "leftovers of files": remove_strays,
    "conversations past their days": remove_outlived,
}


class Sweeper:
    """Several may run: what one has removed, another does not find."""

    def __init__(self) -> None:
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="sweeper", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def close(self, timeout: float) -> None:
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(timeout)

    def _run(self) -> None:
        while not self._stop.wait(_INTERVAL):
            self.sweep()

    def sweep(self) -> None:
        """One look; what fails is tried again at the next."""
        for what, remove in _DUTIES.items():
            try:
                removed = remove()
            except (Error, OSError) as error:
                logger.warning("%s could not be removed: %s", what, error)
            else:
                if removed:
                    logger.info("removed %s: %d", what, removed)
            finally:
                connections.close_all()
