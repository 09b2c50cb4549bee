"""One process of one plugin as the worker sees it: started, asked, ended.

A call that is not answered in time, or not with an answer, ends the process: nothing else would make
it free again, and its channel could not be read any more.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import sysconfig
import tempfile
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from plugins_app.base import Context, Hook
from plugins_app.host.frames import FrameError, Frames
from plugins_app.host.limits import Limits
from plugins_app.host.sources import with_sources
from plugins_app.runners.answers import AnswerError, encode_call, read_answer
from plugins_app.runners.base import FaultKind, PluginFaultError, PluginLoadError
from plugins_app.runners.output_log import OutputLog
from plugins_app.runners.redaction import without_settings
from plugins_app.spec import PluginSpec

_HOST = Path(__file__).resolve().parents[1] / "host"
# Beyond the answer itself: its number, and words of the host.
_ENVELOPE_BYTES = 64 * 1024
_CHANNEL_BYTES = 1 << 20
_GRACE = 2.0


class ProcessGoneError(Exception):
    """It had ended before the call was sent: another process may be asked."""


@dataclass(frozen=True, slots=True)
class Usage:
    """What a process holds and has used: bytes, and seconds of processor."""

    resident_bytes: int
    cpu_seconds: float


class PluginProcess:
    """Safe to use from many threads; calls take turns."""

    def __init__(
        self,
        spec: PluginSpec,
        sources: Mapping[str, bytes],
        on_exit: Callable[[PluginProcess], None],
        *,
        walls_required: bool,
    ) -> None:
        """Starts it and loads these sources; `on_exit` is told of its end in a thread that may be kept.

        Raises PluginLoadError; then nothing is left and `on_exit` is not told.
        """
        self.spec = spec
        self.isolation: tuple[str, ...] = ()
        self.pid: int | None = None
        #: Why it was ended, or how it ended.
        self.error = ""
        self.started_at = time.monotonic()
        #: Seconds that it has worked for callers.
        self.busy_seconds = 0.0
        self._numbers = itertools.count(1)
        self._turn = threading.Lock()
        self._pidfd: int | None = None
        self._is_dead = self._is_loaded = False
        self._gone = threading.Event()
        self._descriptors = threading.Lock()
        try:
            self._folder = Path(tempfile.mkdtemp(prefix=f"llamagpu-plugin-{spec.slug}-"))
            self._frames, self._warden = self._spawn()
        except OSError as error:
            raise PluginLoadError(f"its process cannot be started: {error}") from error
        assert self._warden.stdout is not None  # noqa: S101  for the type: it is a pipe
        # The pipe alone says nothing of the warden: its plugin holds it, too.
        self._warden_fd = _pidfd(self._warden.pid)
        self._output = OutputLog(spec.slug, self._warden.stdout, self._warden_fd, self._hide)
        threading.Thread(
            target=self._watch, args=(on_exit,), name=f"plugin-{spec.slug}", daemon=True
        ).start()
        self._load(with_sources(self._load_order(walls_required=walls_required), sources))

    @property
    def is_gone(self) -> bool:
        """Ended and cleared away; `on_exit` was told, or is about to be."""
        return self._gone.is_set()

    def call(self, hook: Hook, context: Context, deadline: float) -> Context:
        """Waits for its turn until `deadline`; from then on the plugin has its budget's time.

        Raises PluginRefusal, PluginFaultError, ProcessGoneError.
        """
        if not self._turn.acquire(timeout=max(0.0, deadline - time.monotonic())):
            raise PluginFaultError(FaultKind.UNAVAILABLE, "it was busy with other calls")
        try:
            if self._is_dead:
                raise ProcessGoneError
            began = time.monotonic()
            self._output.request_id = getattr(context, "request_id", "")
            try:
                return self._ask(hook, context, began + self.spec.budget.call_timeout)
            finally:
                self.busy_seconds += time.monotonic() - began
        finally:
            self._turn.release()

    def close(self, timeout: float) -> None:
        """Let it clean up for `timeout` seconds, then end it."""
        deadline = time.monotonic() + timeout
        if self._turn.acquire(timeout=timeout / 2):
            try:
                if not self._is_dead:
                    self._is_dead = True  # for callers
                    self._frames.send(b'{"close":true}', deadline)
            except OSError:
                pass  # it is ended below in any case
            finally:
                self._turn.release()
            self._gone.wait(max(0.0, deadline - time.monotonic()))
        self.end("it was closed")

    def end(self, why: str) -> None:
        """Kill it with all that it has started, and wait until it is gone."""
        self._kill(why)
        if not self._gone.wait(_GRACE):
            self._warden.kill()
            self._gone.wait(_GRACE)

    def usage(self) -> Usage | None:
        """None where the system does not tell."""
        if self.pid is None or self._is_dead:
            return None
        folder = Path("/proc", str(self.pid))
        try:
            pages = (folder / "statm").read_text(encoding="ascii").split()[1]
            stat = (folder / "stat").read_text(encoding="utf-8", errors="replace")
        except (OSError, IndexError):
            return None
        user, system = stat.rpartition(")")[2].split()[11:13]
        ticks = (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")
        return Usage(int(pages) * os.sysconf("SC_PAGE_SIZE"), ticks)

    def _spawn(self) -> tuple[Frames, subprocess.Popen[bytes]]:
        ours, theirs = socket.socketpair()
        for end in (ours, theirs):
            end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _CHANNEL_BYTES)
        with theirs:
            try:
                warden = subprocess.Popen(
                    [sys.executable, "-I", "-S", "-B", str(_HOST), str(theirs.fileno())],
                    pass_fds=[theirs.fileno()],
                    stdin=subprocess.PIPE,  # as long as it is open, they live
                    stdout=subprocess.PIPE,
                    stderr=subprocess.STDOUT,
                    env={"LANG": "C.UTF-8", "HOME": str(self._folder), "TMPDIR": str(self._folder)},
                    cwd=self._folder,
                    start_new_session=True,
                    bufsize=0,
                )
            except OSError:
                ours.close()
                shutil.rmtree(self._folder, ignore_errors=True)
                raise
        return Frames(ours), warden

    def _load(self, order: Mapping[str, Any]) -> None:
        deadline = self.started_at + self.spec.budget.start_timeout
        try:
            self._frames.send(json.dumps(order).encode(), deadline)
            self.pid = int(self._hear(deadline)["pid"])
            self._pidfd = _pidfd(self.pid)
            self.isolation = tuple(self._hear(deadline)["walls"])
            answer = self._hear(deadline)
            if "failed" in answer:
                raise PluginLoadError(self._hide(str(answer["failed"])[:500]))
            if answer != {"loaded": True}:
                raise FrameError("no word of a host")
            with self._turn:
                self._is_loaded = not self._is_dead
        except TimeoutError:
            error = f"it was not loaded within {self.spec.budget.start_timeout:g} seconds"
        except (OSError, FrameError, ValueError, KeyError, TypeError, RecursionError) as fault:
            error = f"its process ended while it was loaded, or spoke out of turn ({fault})"
        except PluginLoadError as fault:
            error = str(fault)
        else:
            if self._is_loaded:
                return
            error = "its process ended as soon as it was loaded"
        self.end(error)
        raise PluginLoadError(error)

    def _load_order(self, *, walls_required: bool) -> dict[str, Any]:
        budget = self.spec.budget
        packages = dict.fromkeys(sysconfig.get_path(name) for name in ("purelib", "platlib"))
        library = dict.fromkeys(sysconfig.get_path(name) for name in ("stdlib", "platstdlib"))
        return {
            "slug": self.spec.slug,
            "path": str(self.spec.path.resolve()),
            "config": dict(self.spec.config),
            "folder": str(self._folder),
            "packages": list(packages),
            "library": [*library, *packages],
            "max_output_bytes": budget.max_output_bytes,
            "limits": {name: getattr(budget, name) for name in Limits.__dataclass_fields__},
            "walls_required": walls_required,
        }

    def _hear(self, deadline: float) -> dict[str, Any]:
        payload = self._frames.receive(_ENVELOPE_BYTES, deadline)
        if payload is None:
            raise FrameError("the end")
        words = json.loads(payload)
        if not isinstance(words, dict):
            raise FrameError("no words")
        return words

    def _ask(self, hook: Hook, context: Context, deadline: float) -> Context:
        number = next(self._numbers)
        call = encode_call(number, hook, context)
        limit = self.spec.budget.max_output_bytes + _ENVELOPE_BYTES
        try:
            self._frames.send(call, deadline)
            payload = self._frames.receive(limit, deadline)
            if payload is not None:
                return self._read(payload, number, context)
            fault = PluginFaultError(FaultKind.DIED, "its process ended during the call")
        except TimeoutError:
            seconds = f"{self.spec.budget.call_timeout:g}"
            fault = PluginFaultError(FaultKind.TIMEOUT, f"no answer within {seconds} seconds")
        except (FrameError, AnswerError) as error:
            fault = PluginFaultError(FaultKind.GARBAGE, f"it disturbed its channel: {error}")
        except OSError as error:
            fault = PluginFaultError(FaultKind.DIED, f"its process ended during the call: {error}")
        self._kill(str(fault))
        raise fault

    def _read(self, payload: bytes, number: int, context: Context) -> Context:
        try:
            return read_answer(payload, number, context)
        except PluginFaultError as fault:  # goes to the log, and to who tries the plugin
            raise PluginFaultError(fault.kind, self._hide(str(fault))) from None

    def _hide(self, words: str) -> str:
        return without_settings(words, self.spec.config)

    def _kill(self, why: str) -> None:
        """Does not wait: whoever called has waited long enough."""
        self.error = self.error or why
        self._is_dead = True
        self._output.hurry()
        if self._warden.stdin is not None:
            with contextlib.suppress(OSError):
                self._warden.stdin.close()
        # Its warden does the same, unless somebody has killed it.
        with self._descriptors, contextlib.suppress(OSError):
            if self._pidfd is not None:
                signal.pidfd_send_signal(self._pidfd, signal.SIGKILL)

    def _watch(self, on_exit: Callable[[PluginProcess], None]) -> None:
        self._output.run()
        code = self._warden.wait()
        self._kill(f"its process ended with {_told_exit(code)}")
        with self._turn, self._descriptors:  # nobody is reading any more
            self._frames.channel.close()
            for descriptor in (self._pidfd, self._warden_fd):
                if descriptor is not None:
                    os.close(descriptor)
            self._pidfd = None
        shutil.rmtree(self._folder, ignore_errors=True)
        self._gone.set()
        if self._is_loaded:
            on_exit(self)


def _pidfd(pid: int) -> int | None:
    """What stays this process's even when its number is another's; None where there is no such thing."""
    with contextlib.suppress(OSError, AttributeError):
        return os.pidfd_open(pid)
    return None


def _told_exit(code: int) -> str:
    if code > 128:
        with contextlib.suppress(ValueError):
            return f"the signal {signal.Signals(code - 128).name}"
    return f"exit code {code}"
