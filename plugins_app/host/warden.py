"""Stands between the worker and a plugin's process, so that none of it outlives the worker's wish.

It forks the plugin's process into namespaces of its own and waits: for that process to end, or for
the end of its own standard input, which only the worker holds open. Either way everything that the
plugin has started is gone with it.
"""

from __future__ import annotations

import json
import os
import select
import signal
import socket
import sys
from contextlib import suppress
from pathlib import Path

from plugins_app.host import kernel, namespaces
from plugins_app.host.frames import Frames
from plugins_app.host.service import serve

_LIFELINE = 0
_PR_SET_CHILD_SUBREAPER = 36


def run(channel_fd: int) -> None:
    """Never comes back."""
    folder = Path.cwd()
    has_namespaces = sys.platform == "linux" and namespaces.enter()
    if sys.platform == "linux":
        kernel.prctl(_PR_SET_CHILD_SUBREAPER, 1)
    channel = socket.socket(fileno=channel_fd)
    go_read, go_write = os.pipe()
    ended_read, ended_write = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(go_write)
        os.close(ended_read)
        _become_plugin(channel, go_read, has_namespaces=has_namespaces)
    os.close(ended_write)
    Frames(channel).send(json.dumps({"pid": child}).encode())
    channel.close()
    os.close(go_read)
    os.close(go_write)
    _wait(ended_read)
    code = _end(child)
    _clear_away(folder)
    os._exit(code)


def _become_plugin(channel: socket.socket, go_read: int, *, has_namespaces: bool) -> None:
    if sys.platform == "linux":
        kernel.die_with_parent(signal.SIGKILL)
    os.setsid()
    os.read(go_read, 1)  # until the warden has said who we are
    os.close(go_read)
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, _LIFELINE)
    os.close(null)
    serve(channel, has_namespaces=has_namespaces)


def _wait(ended: int) -> None:
    """Until the worker lets go or the plugin's process, which holds the other end, has ended."""
    poll = select.poll()
    poll.register(_LIFELINE, select.POLLIN | select.POLLHUP)
    poll.register(ended, select.POLLIN | select.POLLHUP)
    poll.poll()


def _clear_away(folder: Path) -> None:
    """Nobody else may be left to do it."""
    import shutil  # not before it is needed: it would slow down every start

    os.chdir("/")
    if sys.platform == "linux":
        namespaces.unmount_folder(folder)
    shutil.rmtree(folder, ignore_errors=True)


def _end(child: int) -> int:
    """Kill what is left, and say how the plugin's process ended."""
    for target in (child, -child):
        with suppress(ProcessLookupError, PermissionError):
            os.kill(target, signal.SIGKILL)
    status = 0
    with suppress(ChildProcessError):
        while True:  # orphans of the plugin come to us
            pid, status_of_it = os.waitpid(-1, 0)
            if pid == child:
                status = status_of_it
                break
    code = os.waitstatus_to_exitcode(status)
    return code if code >= 0 else 128 - code
