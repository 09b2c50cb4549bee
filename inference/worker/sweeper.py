"""Removes, once a minute, the texts of jobs whose time has come."""

from __future__ import annotations

import logging
import threading

from django.db import Error, connections

from inference.job_contents import remove_due

logger = logging.getLogger(__name__)

_INTERVAL = 60.0


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
        try:
            removed = remove_due()
        except Error as error:
            logger.warning("texts of ended jobs could not be removed: %s", error)
        else:
            if removed:
                logger.info("removed the texts of %d ended jobs", removed)
        finally:
            connections.close_all()
