"""An engine process that computes nothing, so that what is left of a request's time is the portal's.

`python -m inference.benchmark.portal.instant_engine N` speaks the worker's protocol on socket number N.
A request without a seed is answered at once. With one, a token comes every `seed` milliseconds, and
its text is the moment of its sending: `time.monotonic_ns()`, which all processes of a machine share.
"""

from __future__ import annotations

import heapq
import os
import select
import socket
import sys
import time
from dataclasses import dataclass, field

from inference import wire
from inference.protocol import (
    Cancel,
    Delta,
    Drain,
    Drained,
    Exit,
    Failed,
    Finished,
    FinishReason,
    GetStats,
    Hello,
    Load,
    Loaded,
    Started,
    Stats,
    Submit,
    Timings,
    Usage,
)
from llamagpu.lib.error_codes import ErrorCode

COMMAND = (sys.executable, "-m", "inference.benchmark.portal.instant_engine")
NUM_SLOTS = 256
_ANSWER = "instant"


@dataclass(order=True, slots=True)
class _Paced:
    """A request that gets its next token at `due`, in seconds of the monotonic clock."""

    due: float
    pause: float = field(compare=False)
    command: Submit = field(compare=False)
    num_tokens: int = field(default=0, compare=False)


class InstantEngine:
    def __init__(self, channel: socket.socket) -> None:
        self._channel = channel
        self._paced: list[_Paced] = []

    def serve(self) -> None:
        """Until the worker says so or goes away."""
        self._send(Hello(os.getpid()))
        while True:
            wait = max(0.0, self._paced[0].due - time.monotonic()) if self._paced else None
            if select.select([self._channel], [], [], wait)[0]:
                command = wire.receive(self._channel)
                if command is None or isinstance(command, Exit):
                    return
                self._obey(command)
            self._send_due_tokens()

    def _obey(self, command: object) -> None:
        match command:
            case Load():
                name, device = "Instant", "cpu"
                self._send(Loaded(name, device, device, "none", 8192, NUM_SLOTS, 1, 1, 1, 0.0))
            case Submit():
                self._begin(command)
            case Cancel():
                self._cancel(command.request_id)
            case GetStats():
                num_running = len(self._paced)
                self._send(Stats(num_running, 0, NUM_SLOTS, 0.0, 0, 0, 0, 0, 0.0, 0))
            case Drain():
                self._send(Drained())

    def _begin(self, command: Submit) -> None:
        self._send(Started(command.request_id, 8, 0.0))
        if command.params.seed is None:
            self._send(Delta(command.request_id, _ANSWER, 1))
            self._finish(command, 1)
            return
        pause = command.params.seed / 1000
        heapq.heappush(self._paced, _Paced(time.monotonic() + pause, pause, command))

    def _send_due_tokens(self) -> None:
        now = time.monotonic()
        while self._paced and self._paced[0].due <= now:
            paced = heapq.heappop(self._paced)
            paced.num_tokens += 1
            text = f"{time.monotonic_ns()} "
            self._send(Delta(paced.command.request_id, text, paced.num_tokens))
            if paced.num_tokens >= paced.command.params.max_tokens:
                self._finish(paced.command, paced.num_tokens)
            else:
                paced.due += paced.pause
                heapq.heappush(self._paced, paced)

    def _finish(self, command: Submit, num_tokens: int) -> None:
        usage, timings = Usage(8, num_tokens), Timings()
        end = Finished(command.request_id, _ANSWER, FinishReason.LENGTH, usage, timings)
        self._send(end)

    def _cancel(self, request_id: str) -> None:
        kept = [paced for paced in self._paced if paced.command.request_id != request_id]
        if len(kept) < len(self._paced):
            heapq.heapify(kept)
            self._paced = kept
            self._send(Failed(request_id, ErrorCode.CANCELLED, "The job was cancelled."))

    def _send(self, event: object) -> None:
        wire.send(self._channel, event)


if __name__ == "__main__":
    InstantEngine(socket.socket(fileno=int(sys.argv[1]))).serve()
