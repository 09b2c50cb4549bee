"""Tokens that wait for those after them, and are told with them in pieces.

Each event costs worker, Redis and web process together 0.1 to 0.3 milliseconds, which the model
lacks where it computes on the same processors. An answer that nobody reads while it is written is told
once a second. A stream is told as its tokens come, but the more streams are open the longer they wait:
as long as `LLAMA_STREAM_INTERVAL` says where `MANY_STREAMS` are. All streams are told in the same
rounds, so that Redis and the web process wake up once for all of them.
"""

from __future__ import annotations

import math
import threading
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


class Rounds:
    """Numbers the times at which jobs tell what they have. Safe for many threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._number = 0
        self._began_at = time.monotonic()

    def number(self, interval: float, gap: float) -> int:
        """That of the present round, for a job whose tokens come `gap` seconds apart.

        A round is over with the token that is nearest to the end of its interval. So one that would have
        to wait for most of it is not kept, and tokens that come slowly do not gather at all.
        """
        with self._lock:
            now = time.monotonic()
            if now - self._began_at >= interval - gap / 2:
                self._began_at = now
                self._number += 1
            return self._number


class Gathering:
    """The tokens of one attempt of a job. The first one is told at once: it shows that the answer has
    begun. A token that waits is told with the next one of another round, or at the end.
    """

    def __init__(self) -> None:
        self._told_in = -1
        self._came_at = math.inf
        self._pieces: dict[int, TokenEvent] = {}

    def add(self, token: TokenEvent, rounds: Rounds, interval: float) -> list[TokenEvent]:
        """What is to be told now, if anything, where tokens gather for `interval` seconds."""
        before = self._pieces.get(token.index)
        self._pieces[token.index] = token if before is None else before.joined_by(token)
        now = time.monotonic()
        gap, self._came_at = max(0.0, now - self._came_at), now
        number = rounds.number(interval, gap)
        if number == self._told_in:
            return []
        self._told_in = number
        return self.take()

    def take(self) -> list[TokenEvent]:
        """All that has gathered, one piece of each answer."""
        pieces, self._pieces = self._pieces, {}
        return list(pieces.values())
