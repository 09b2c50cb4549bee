"""Tokens that wait for those after them, and are told with them in pieces.

Each event costs worker, Redis and web process together 0.1 to 0.3 milliseconds, which the model
lacks where it computes on the same processors. An answer that nobody reads while it is written is told
once a second. A stream is told as its tokens come, but the more streams are open the longer they wait:
as long as `LLAMA_STREAM_INTERVAL` says where `MANY_STREAMS` are.
"""

from __future__ import annotations

import math
import time

from inference.protocol import GenerationJob, TokenEvent
from monitoring.configuration import current

#: Seconds for which the tokens of an answer gather that is not streamed. So much of it may be missing
#: from its bill, too, where its worker dies and no attempt follows.
UNREAD_INTERVAL = 1.0
#: Streams at which tokens wait for the whole interval.
MANY_STREAMS = 32


def interval_of(job: GenerationJob, num_jobs: int) -> float:
    """Seconds for which the tokens of `job` gather on a worker that runs so many."""
    if not job.is_streamed:
        return UNREAD_INTERVAL
    return current().stream_interval / 1000 * min(1.0, num_jobs / MANY_STREAMS)


class Gathering:
    """The tokens of one attempt of a job. The first one is told at once: it shows that the answer has
    begun. A token that waits is told with the next one after its time, or at the end.
    """

    def __init__(self) -> None:
        self._told_at = -math.inf
        self._pieces: dict[int, TokenEvent] = {}

    def add(self, token: TokenEvent, interval: float) -> list[TokenEvent]:
        """What is to be told now, if anything, where tokens gather for `interval` seconds."""
        before = self._pieces.get(token.index)
        self._pieces[token.index] = token if before is None else before.joined_by(token)
        return self.take() if time.monotonic() - self._told_at >= interval else []

    def take(self) -> list[TokenEvent]:
        """All that has gathered, one piece of each answer."""
        self._told_at = time.monotonic()
        pieces, self._pieces = self._pieces, {}
        return list(pieces.values())
