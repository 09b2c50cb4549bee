"""Runs the host of a plugin on a system that lacks some walls: `python -I -S -B … FD missing…`."""

from __future__ import annotations

import errno
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[3]))

from plugins_app.host import landlock, namespaces, seccomp
from plugins_app.host.warden import run


def lacking(*arguments: object) -> None:
    raise OSError(errno.ENOSYS, "this kernel has none")


if __name__ == "__main__":
    missing = sys.argv[2:]
    if "landlock" in missing:
        landlock.restrict = lacking  # type: ignore[assignment]
    if "seccomp" in missing:
        seccomp.refuse_calls = lacking
    if "namespaces" in missing:
        namespaces.enter = lambda: False
    run(int(sys.argv[1]))
