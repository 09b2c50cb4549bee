"""Start a program that dies with its parent, however the parent dies.

`dies_with_parent(command)` gives the command line to start instead of `command`: this file, run as
a tiny program, asks the kernel for a signal at the parent's death and then becomes the command.
Doing it there and not in `preexec_fn` keeps the fork safe in a process that has threads.

The kernel watches the parent *thread*: start such a child from a thread that lives as long as the
child shall, best the main thread.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from collections.abc import Sequence

_PR_SET_PDEATHSIG = 1
_EXIT_CANNOT_START = 127


def dies_with_parent(
    command: Sequence[str], with_signal: signal.Signals = signal.SIGKILL
) -> list[str]:
    """The command line that runs `command` as a child which gets `with_signal` when we die.

    Where the kernel offers no such thing (not Linux), it is `command` itself.
    """
    if sys.platform != "linux":
        return list(command)
    stub = [sys.executable, "-I", "-S", __file__]
    return [*stub, str(int(with_signal)), str(os.getpid()), *command]


def _become(with_signal: int, parent: int, command: list[str]) -> None:
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, with_signal, 0, 0, 0)
    if os.getppid() != parent:  # it died before the kernel was asked
        sys.exit(_EXIT_CANNOT_START)
    try:
        os.execvp(command[0], command)  # noqa: S606 - becoming the command is the purpose
    except OSError as error:
        sys.stderr.write(f"{command[0]} cannot be started: {error.strerror}\n")
        sys.exit(_EXIT_CANNOT_START)


if __name__ == "__main__":
    _become(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3:])
