"""Which jobs have been without a reader for longer than they may.

The caller of a job, or the web process that served it, may be gone without a word. A reader's sign
of life stands in Redis (`inference.readers`); here is counted for how long it has been missing. That
nobody was seen at first, or while Redis had lost its memory, costs a job nothing: readers have the
time to show themselves.
"""

from __future__ import annotations

import time
from collections.abc import Collection

from inference.stream import READER_LIFETIME

#: Told to a job's row, and to whoever comes back for its answer.
FORSAKEN = "Nobody waits for the answer any more."


class ReaderWatch:
    """To be used from one thread."""

    def __init__(self) -> None:
        self._missing_since: dict[str, float] = {}

    def is_forsaken(self, job_id: str, grace: float | None, *, is_read: bool) -> bool:
        """Whether a job that may go on for `grace` seconds without a reader has had none for longer."""
        if grace is None or is_read:
            self._missing_since.pop(job_id, None)
            return False
        since = self._missing_since.setdefault(job_id, time.monotonic())
        return time.monotonic() - since >= max(grace, READER_LIFETIME)

    def keep_only(self, job_ids: Collection[str]) -> None:
        """Forget every other job."""
        for job_id in self._missing_since.keys() - set(job_ids):
            del self._missing_since[job_id]
