"""Processes that lose their parent below us: adopt them, then end them.

A worker that is killed leaves its engines behind. As their subreaper we become their parent, so
none can slip away, in whatever session or process group it runs.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import sys
from collections.abc import Callable, Collection

import psutil

_PR_SET_CHILD_SUBREAPER = 36


def adopt_orphans() -> None:
    """From now on the kernel hands us every orphan among our descendants."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def reap_adopted(is_ours: Callable[[int], bool]) -> None:
    """Clear away dead orphans. Stops at a dead child of ours: its owner collects the status."""
    while True:
        try:
            dead = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        except ChildProcessError:
            return
        if dead is None or is_ours(dead.si_pid):
            return
        with contextlib.suppress(ChildProcessError):
            os.waitpid(dead.si_pid, 0)


def kill_orphans(our_pids: Collection[int], *, timeout: float = 2.0) -> int:
    """SIGKILL every process below us but `our_pids` and what runs below those; says how many."""
    orphans = [child for child in psutil.Process().children() if child.pid not in our_pids]
    return kill_trees(orphans, timeout=timeout)


def kill_trees(roots: Collection[psutil.Process], *, timeout: float = 2.0) -> int:
    """SIGKILL the processes and all their descendants, and wait until they are gone."""
    doomed = list(roots)
    for root in roots:
        with contextlib.suppress(psutil.NoSuchProcess):
            doomed += root.children(recursive=True)
    for process in doomed:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.send_signal(signal.SIGKILL)
    psutil.wait_procs(doomed, timeout=timeout)
    return len(doomed)
