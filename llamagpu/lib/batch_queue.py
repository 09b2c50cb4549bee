"""A queue whose one reader takes everything that waits, so that it writes in batches.

Under light load a batch is one item and nothing waits for company; under heavy load batches grow
by themselves.
"""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Callable
from typing import Generic, TypeVar

logger = logging.getLogger(__name__)

Item = TypeVar("Item")


class BatchQueue(Generic[Item]):
    """`handle(batch)` runs in one thread of its own, in the order of `put`.

    `idle()` says after how many seconds without items `handle([])` is called; None waits on.
    A batch that `handle` fails on is logged and lost; those after it are handled.
    """

    def __init__(
        self,
        name: str,
        handle: Callable[[list[Item]], None],
        *,
        max_batch: int,
        idle: Callable[[], float | None] = lambda: None,
    ) -> None:
        self._handle = handle
        self._max_batch = max_batch
        self._idle = idle
        self._items: queue.SimpleQueue[Item | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def put(self, item: Item) -> None:
        self._items.put(item)

    def close(self, timeout: float) -> None:
        """Handle what waits, for at most `timeout` seconds, then end the thread."""
        self._items.put(None)
        self._thread.join(timeout)

    def _run(self) -> None:
        is_open = True
        while is_open:
            taken = self._take()
            is_open = None not in taken
            try:
                self._handle([item for item in taken if item is not None])
            except Exception:  # its owner waits for what comes later, too
                logger.exception("%s: a batch is lost", self._thread.name)

    def _take(self) -> list[Item | None]:
        try:
            taken = [self._items.get(timeout=self._idle())]
        except queue.Empty:
            return []
        while len(taken) < self._max_batch:
            try:
                taken.append(self._items.get_nowait())
            except queue.Empty:
                break
        return taken
