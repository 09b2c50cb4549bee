"""Entry of ranks 1 and up: `python -m inference.engine.parallel.rank JSON`.

A rank loads its part of the model and then does what rank 0 says on its standard input, step by step.
The end of that pipe is its own end, whatever its other thread computes or waits for.
"""

from __future__ import annotations

import json
import logging
import os
import queue
import shutil
import signal
import sys
import threading
from pathlib import Path
from typing import Any

from inference.engine.channel import leave
from inference.engine.parallel.commands import Command, read_command
from inference.engine.threads import calm_waiting_threads

logger = logging.getLogger("inference.engine")

_EXIT_FAILED = 1


class _Inbox:
    """Commands read ahead by a thread of their own."""

    def __init__(self, folder: Path) -> None:
        """`folder` is where the ranks met; it is removed when rank 0 is gone."""
        self._folder = folder
        self._queue: queue.SimpleQueue[tuple[Command, list[int]]] = queue.SimpleQueue()
        threading.Thread(target=self._read, name="reader", daemon=True).start()

    def next(self) -> tuple[Command, list[int]]:
        return self._queue.get()

    def _read(self) -> None:
        while (command := read_command(sys.stdin.buffer)) is not None:
            self._queue.put(command)
        shutil.rmtree(self._folder, ignore_errors=True)
        leave(0, "rank 0 is gone")


def serve(spec: dict[str, Any], inbox: _Inbox) -> None:
    """Load this rank's part, then follow. Raises what loading or computing raises."""
    from inference.engine.parallel.serving import build_rank, spec_from_json

    ranked = build_rank(spec_from_json(spec))
    while True:
        command, numbers = inbox.next()
        ranked.follow(command, numbers)


def main(arguments: list[str] | None = None) -> int:
    """The command line; returns the exit status."""
    spec = json.loads((arguments or sys.argv[1:])[0])
    calm_waiting_threads()
    # Ctrl-C reaches the whole process group; rank 0 decides when the others end.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    name = f"{Path(spec['path']).name} rank {spec['rank']}".replace("%", "%%")
    logging.basicConfig(
        level=logging.WARNING,
        stream=sys.stderr,
        format=f"%(asctime)s %(levelname)s engine[{name}] %(name)s: %(message)s",
    )
    inbox = _Inbox(Path(spec["meeting_point"]).parent)
    try:
        serve(spec, inbox)
    except Exception:
        logger.exception("this rank failed")
    leave(_EXIT_FAILED, "this rank failed")


if __name__ == "__main__":
    sys.exit(main())
