"""Child entry: `python -m inference.engine.process --channel-fd N`, one process per model copy.

The main thread owns the device: it loads the model, then runs the loop. A reader thread takes
commands off the pipe and tokenizes; a watchdog ends the process when a step hangs. The first frame
out is `Hello`; `Load` is answered by `Loaded`, or by `LoadFailed` and the end of the process.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import queue
import signal
import socket
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

from inference.engine.channel import Channel, leave
from inference.engine.config import EngineConfig
from inference.engine.errors import DeviceLost, LoadError
from inference.engine.memory import resident_bytes
from inference.engine.request_spans import RequestSpans, start_from_environment
from inference.engine.threads import calm_waiting_threads
from inference.engine.watchdog import Watchdog
from inference.protocol import (
    Cancel,
    Drain,
    Drained,
    EngineCommand,
    EngineEvent,
    Exit,
    Failed,
    GetStats,
    Hello,
    Load,
    LoadFailed,
    LoadProgress,
    Stats,
    Submit,
)
from llamagpu.lib.error_codes import ErrorCode

if TYPE_CHECKING:
    from inference.engine.engine import Engine

logger = logging.getLogger("inference.engine")

EXIT_LOAD_FAILED = 1
EXIT_DEVICE_LOST = 4
_EXIT_CRASH = 5


class EngineProcess:
    """Binds the pipe to an engine. Torch is imported only after `Hello`: it takes seconds."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self._loads: queue.SimpleQueue[Load] = queue.SimpleQueue()
        self._is_load_seen = False
        self._engine: Engine | None = None
        self._step_timeout = 0.0
        self._spans = RequestSpans()

    def run(self) -> int:
        """Serve until the worker says `Exit` or goes away; returns the exit status otherwise."""
        self._channel.send([Hello(pid=os.getpid())])
        threading.Thread(target=self._read, name="reader", daemon=True).start()
        command = self._loads.get()
        _name_process(command.model_path)
        try:
            self._load(command)
        except LoadError as error:
            logger.error("load failed: %s", error.message)
            self._channel.send([LoadFailed(error.code, error.message)])
            return EXIT_LOAD_FAILED
        except Exception:
            logger.exception("load failed")
            message = f"{command.model_path}: the model could not be loaded; see the engine's log"
            self._channel.send([LoadFailed(ErrorCode.MODEL_LOAD_FAILED, message)])
            return EXIT_LOAD_FAILED
        return self._serve()

    def _load(self, command: Load) -> None:
        config = EngineConfig.from_load(command)
        started = time.monotonic()
        from inference.engine.startup import start_engine

        def progress(stage: str, fraction: float) -> None:
            self._channel.send([LoadProgress(stage, fraction)])

        running = start_engine(Path(command.model_path), config, self._emit, progress)
        self._engine = running.engine
        self._step_timeout = config.step_timeout
        self._channel.send([running.describe(time.monotonic() - started)])
        if command.upgrade:
            running.begin_upgrade()

    def _emit(self, events: list[EngineEvent]) -> None:
        self._spans.note(events)
        self._channel.send(events)

    def _serve(self) -> int:
        if self._engine is None:
            raise RuntimeError("the engine was not started")
        engine = self._engine
        watchdog = Watchdog(lambda: engine.num_progress, self._step_timeout)
        watchdog.start()
        try:
            engine.run()
        except DeviceLost as error:
            logger.critical("%s", error.message)
            return EXIT_DEVICE_LOST
        finally:
            watchdog.stop()
        return 0

    def _read(self) -> None:
        """The reader thread: never returns."""
        try:
            while True:
                self._handle(self._channel.receive())
        except Exception:
            # A reader that is gone would leave an engine that hears no cancel and no end of file.
            logger.exception("the reader failed")
            leave(_EXIT_CRASH, "the reader failed")

    def _handle(self, command: EngineCommand) -> None:
        if isinstance(command, Exit):
            leave(0, "the worker said so")
        if isinstance(command, Load):
            self._handle_load(command)
        elif self._engine is None:
            self._refuse(command)
        elif isinstance(command, Submit):
            self._spans.begin(command)
            self._engine.submit(command)
        elif isinstance(command, Cancel):
            self._engine.cancel(command.request_id)
        elif isinstance(command, GetStats):
            self._channel.send([self._engine.stats()])
        elif isinstance(command, Drain):
            self._engine.drain(command.timeout)

    def _handle_load(self, command: Load) -> None:
        if self._is_load_seen:
            logger.error("a second Load is ignored: a process serves one model")
            return
        self._is_load_seen = True
        self._loads.put(command)

    def _refuse(self, command: EngineCommand) -> None:
        """Answer what comes before the model is ready, so that nobody waits in vain."""
        if isinstance(command, Submit):
            message = "the model is not loaded yet"
            self._channel.send([Failed(command.request_id, ErrorCode.NO_WORKER, message)])
        elif isinstance(command, GetStats):
            self._channel.send([Stats(0, 0, 0, 0.0, 0, 0, 0, 0, 0.0, resident_bytes())])
        elif isinstance(command, Drain):
            self._channel.send([Drained()])


class JsonLines(logging.Formatter):
    """For the worker, which adds the model and the request and writes the line as it is set to."""

    def format(self, record: logging.LogRecord) -> str:
        fields = {
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            fields["exception"] = self.formatException(record.exc_info)
        return json.dumps(fields)


def _name_process(model_path: str) -> None:
    """Show the model in `ps` and in every log line. The kernel keeps 15 bytes of a name."""
    name = Path(model_path).name
    try:
        Path("/proc/self/comm").write_text(f"llm:{name}"[:15], encoding="utf-8")
    except OSError:
        logger.debug("the process could not be named")
    for handler in logging.getLogger().handlers:
        handler.setFormatter(_formatter(name))


def _formatter(name: str) -> logging.Formatter:
    if os.environ.get("ENGINE_LOG_LINES") == "json":
        return JsonLines()
    safe = name.replace("%", "%%")
    return logging.Formatter(f"%(asctime)s %(levelname)s engine[{safe}] %(name)s: %(message)s")


def main(arguments: list[str] | None = None) -> int:
    """The child's command line; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m inference.engine.process")
    parser.add_argument("--channel-fd", type=int, required=True)
    parser.add_argument("--log-level", default="INFO")
    options = parser.parse_args(arguments)
    calm_waiting_threads()
    start_from_environment()
    # Ctrl-C reaches the whole process group; the worker decides when its engines end.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # Whatever a library prints belongs in the log, not into a pipe that someone parses.
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    logging.basicConfig(level=options.log_level.upper(), stream=sys.stderr)
    for handler in logging.getLogger().handlers:
        handler.setFormatter(_formatter("-"))
    try:
        connection = socket.socket(fileno=options.channel_fd)
    except OSError as error:
        logger.error("--channel-fd %d is no socket: %s", options.channel_fd, error.strerror)
        return 2
    return EngineProcess(Channel(connection)).run()


if __name__ == "__main__":
    sys.exit(main())
