"""Tokens of an answer that nobody reads while it is written: told once a second, in pieces.

Those of a stream too, where `LLAMA_STREAM_INTERVAL` says so.

Each token that is told costs the worker, Redis and the web process together about a third of a
millisecond, which the model lacks where it computes on the same processors.
"""

from __future__ import annotations

import math
import time

from inference.protocol import GenerationJob, TokenEvent
from monitoring.configuration import current

#: Seconds for which tokens gather. So much of an answer may be missing from its bill, too, where its
#: worker dies and no attempt follows.
INTERVAL = 1.0


class Gathering:
    """The tokens of one attempt of a job. Those of a streamed one are told as they come, unless the
    operator has them gather. The first one of any is told at once: it shows that the answer has begun.
    """

    def __init__(self, job: GenerationJob) -> None:
        self._interval = current().stream_interval / 1000 if job.is_streamed else INTERVAL
        self._told_at = -math.inf
        self._pieces: dict[int, TokenEvent] = {}

    def add(self, token: TokenEvent) -> list[TokenEvent]:
        """What is to be told now, if anything."""
        if not self._interval:
            return [token]
        before = self._pieces.get(token.index)
        self._pieces[token.index] = token if before is None else before.joined_by(token)
        return self.take() if time.monotonic() - self._told_at >= self._interval else []

    def take(self) -> list[TokenEvent]:
        """All that has gathered, one piece of each answer."""
        self._told_at = time.monotonic()
        pieces, self._pieces = self._pieces, {}
        return list(pieces.values())
