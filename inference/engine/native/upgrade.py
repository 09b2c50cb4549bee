"""Prepares the fast path in the background while the model is served in a slower way.

A child process does the work at a low priority; what it says when it fails is logged once, and
serving goes on as before.
"""

from __future__ import annotations

import json
import logging
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Callable
from pathlib import Path

from llamagpu.lib.lifeline import dies_with_parent

logger = logging.getLogger(__name__)

_PROJECT = Path(__file__).resolve().parents[3]
# At the lowest, 19, a busy server would never be done with what makes it several times as fast.
_LOW_PRIORITY = 5
_LAST_LINES = 5


class Preparation:
    """One background preparation of the model in `folder`; `done(True)` once it is there."""

    def __init__(
        self,
        folder: Path,
        cache_dir: Path,
        num_threads: int,
        done: Callable[[bool], None],
        nice: int = _LOW_PRIORITY,
    ) -> None:
        self._command = [
            sys.executable, "-m", "inference.engine.native",
            "--model", str(folder), "--cache-dir", str(cache_dir),
            "--threads", str(num_threads), "--nice", str(nice),
        ]  # fmt: skip
        self._folder = folder
        self._done = done
        self.stage = "starting"
        self.fraction = 0.0
        # The child lives no longer than this thread, which waits for it.
        self._thread = threading.Thread(target=self._run, name="preparation", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def wait(self) -> None:
        """Until the child has ended and `done` was called."""
        self._thread.join()

    def _run(self) -> None:
        is_there = False
        try:
            is_there = self._prepare()
        except OSError as error:
            logger.warning("%s: the fast path cannot be prepared: %s", self._folder, error)
        except Exception:
            logger.exception("%s: the fast path cannot be prepared", self._folder)
        self._done(is_there)

    def _prepare(self) -> bool:
        complaints: deque[str] = deque(maxlen=_LAST_LINES)
        with subprocess.Popen(
            dies_with_parent(self._command),
            cwd=_PROJECT,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        ) as child:
            if child.stdout is None or child.stderr is None:
                raise RuntimeError("the child has no pipes")
            reader = threading.Thread(target=complaints.extend, args=[child.stderr], daemon=True)
            reader.start()
            for line in child.stdout:
                self._note(line)
            reader.join()
            status = child.wait()
        if status != 0:
            reason = complaints[-1].strip() if complaints else f"exit status {status}"
            logger.warning("the fast path is not available, serving goes on without: %s", reason)
        return status == 0

    def _note(self, line: str) -> None:
        try:
            message = json.loads(line)
        except ValueError:
            return
        if "stage" in message:
            self.stage, self.fraction = str(message["stage"]), float(message["fraction"])
        else:
            logger.info(
                "%s: prepared, perplexity %.4f of float32's, top token equal in %.1f%%",
                self._folder, message["perplexity_ratio"], 100 * message["top1_agreement"],
            )  # fmt: skip
