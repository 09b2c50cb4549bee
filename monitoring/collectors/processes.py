"""What the processes of this installation use on this machine, by their parts in it. No Django.

Under `manage.py serve` they are its descendants. Where the parts were started apart, they are known by
their command lines among the processes of the same user.
"""

from __future__ import annotations

import itertools
import os
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path, PurePath

import psutil

_FIND_EVERY = 5.0
# Counting open files lists them all.
_FDS_EVERY = 5.0
# Reading how memory is shared walks all of a process's pages: not every second.
_PSS_EVERY = 180.0


class Role(StrEnum):
    SUPERVISOR = "supervisor"
    WEB = "web"
    WORKER = "worker"
    ENGINE = "engine"
    PLUGIN_HOST = "plugin_host"
    VALKEY = "valkey"
    MONITOR = "monitor"


@dataclass(frozen=True, slots=True)
class ProcessUsage:
    """One process. `cpu` is percent of one core since the last reading, bytes of memory; `pss` shares
    what several have in common between them and may be three minutes old, `fds` five seconds."""

    role: Role
    pid: int
    cpu: float | None
    rss: int
    pss: int | None
    threads: int
    fds: int | None
    started_unix: float


class ProcessReader:
    """Finds the processes every few seconds and reads those that it knows at each reading.

    `root` is the process whose descendants count; None looks at all of this user.
    """

    def __init__(self, root: int | None = None) -> None:
        self._root = root
        self._known: dict[int, _Watched] = {}
        self._found_at = float("-inf")

    def read(self) -> list[ProcessUsage]:
        now = time.monotonic()
        if now - self._found_at >= _FIND_EVERY:
            self._find()
            self._found_at = now
        usages = []
        for pid, watched in list(self._known.items()):
            try:
                usages.append(watched.read(now))
            except psutil.Error:
                del self._known[pid]
        return usages

    def _find(self) -> None:
        for process in _candidates(self._root):
            if process.pid in self._known and self._known[process.pid].process == process:
                continue
            try:
                role = role_of(process.cmdline())
            except psutil.Error:
                continue
            if role is not None:
                self._known[process.pid] = _Watched(process, role)


class _Watched:
    """A process between two readings."""

    def __init__(self, process: psutil.Process, role: Role) -> None:
        self.process = process
        self._role = role
        self._cpu: tuple[float, float] | None = None
        self._pss: int | None = None
        self._pss_at = float("-inf")
        self._fds: int | None = None
        self._fds_at = float("-inf")

    def read(self, now: float) -> ProcessUsage:
        """Raises psutil.Error once it is gone."""
        process = self.process
        with process.oneshot():
            if process.status() == psutil.STATUS_ZOMBIE:
                raise psutil.NoSuchProcess(process.pid)
            times, memory = process.cpu_times(), process.memory_info()
            threads, started = process.num_threads(), process.create_time()
        if now - self._pss_at >= _PSS_EVERY:
            self._pss, self._pss_at = _proportional_bytes(process.pid), now
        if now - self._fds_at >= _FDS_EVERY:
            self._fds, self._fds_at = _num_descriptors(process), now
        before, self._cpu = self._cpu, (times.user + times.system, now)
        cpu = None
        if before is not None and now > before[1]:
            cpu = round(100 * max(0.0, self._cpu[0] - before[0]) / (now - before[1]), 1)
        return ProcessUsage(
            role=self._role,
            pid=process.pid,
            cpu=cpu,
            rss=memory.rss,
            pss=self._pss,
            threads=threads,
            fds=self._fds,
            started_unix=started,
        )


def supervisor_of(pid: int) -> int | None:
    """The `manage.py serve` that has started the process `pid`; None where there is none."""
    try:
        for parent in psutil.Process(pid).parents():
            if role_of(parent.cmdline()) is Role.SUPERVISOR:
                return int(parent.pid)
    except psutil.Error:
        return None
    return None


def role_of(command: Sequence[str]) -> Role | None:
    """What a process of this installation is by its command line; None for any other."""
    if not command:
        return None
    if PurePath(command[0].split(" ")[0]).name in ("valkey-server", "redis-server"):
        return Role.VALKEY
    words = set(command)
    if words & {"llamagpu.web_server", "llamagpu.asgi:application"}:
        return Role.WEB
    if any(word.startswith("inference.engine.") for word in command):
        return Role.ENGINE
    if any(word.startswith("plugins_app.host") or "plugins_app/host" in word for word in command):
        return Role.PLUGIN_HOST
    if "llamagpu" in words and any(PurePath(word).name == "celery" for word in command):
        return Role.WORKER
    return _managed(command)


def _managed(command: Sequence[str]) -> Role | None:
    """The commands that stay: `manage.py serve` and `manage.py monitor`."""
    for word, following in itertools.pairwise(command):
        if PurePath(word).name == "manage.py":
            return {"serve": Role.SUPERVISOR, "monitor": Role.MONITOR}.get(following)
    return None


def _candidates(root: int | None) -> Iterable[psutil.Process]:
    try:
        if root is not None:
            supervisor = psutil.Process(root)
            return [supervisor, *supervisor.children(recursive=True)]
    except psutil.Error:
        return []
    return (process for process in psutil.process_iter() if _is_ours(process))


def _is_ours(process: psutil.Process) -> bool:
    try:
        return process.uids().real == os.getuid()
    except psutil.Error:
        return False


def _num_descriptors(process: psutil.Process) -> int | None:
    """None where they may not be seen, as of a plugin host that gave up its rights."""
    try:
        return int(process.num_fds())
    except psutil.Error:
        return None


def _proportional_bytes(pid: int) -> int | None:
    try:
        text = Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii")
    except OSError:
        return None
    for line in text.splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) * 1024
    return None
