"""All walls around a plugin's process, raised one after another before a line of it runs.

Which of them hold depends on the kernel and on who started the portal; `raise_walls` says so.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Sequence
from contextlib import suppress
from enum import StrEnum
from pathlib import Path

from plugins_app.host import kernel, landlock, limits, namespaces, seccomp

_PORTAL = Path(__file__).resolve().parents[1]
_SYSTEM = (
    "/lib",
    "/lib64",
    "/usr/lib",
    "/usr/lib64",
    "/usr/local/lib",
    "/usr/share/zoneinfo",
    "/etc/ld.so.cache",
    "/etc/localtime",
    "/etc/mime.types",
    "/dev/urandom",
    "/dev/zero",
    "/sys/devices/system/cpu/online",
)
_NULL = Path(os.devnull)


class Wall(StrEnum):
    """What a plugin's process cannot do, as operators read it.

    FILES: reach any but its own. FOLDER: fill the disk. LIMITS: take more memory, processor or open
    files than it may. NETWORK: reach anything. PROCESSES: start, see or signal any. SYSCALLS: ask
    the kernel for what no plugin needs. USER: own what the portal's user owns.
    """

    FILES = "files"
    FOLDER = "folder"
    LIMITS = "limits"
    NETWORK = "network"
    PROCESSES = "processes"
    SYSCALLS = "syscalls"
    USER = "user"


#: Without these a hostile plugin reaches what the portal's own user reaches.
ESSENTIAL = frozenset({Wall.FILES, Wall.NETWORK})


def raise_walls(
    plugin: Path,
    folder: Path,
    bounds: limits.Limits,
    library: Sequence[Path],
    *,
    has_namespaces: bool,
) -> tuple[Wall, ...]:
    """`plugin` is what runs, `folder` where it may write, `library` what it may import from."""
    held: set[Wall] = set()
    needed = [*library, _PORTAL / "base.py", _PORTAL / "host", plugin]
    if sys.platform == "linux":
        held |= _leave_rights(folder, needed, has_namespaces=has_namespaces)
    with suppress(OSError, ValueError):
        limits.limit(bounds)
        held.add(Wall.LIMITS)
    if sys.platform == "linux":
        held |= _close_kernel([*needed, *map(Path, _SYSTEM)], [folder, _NULL])
    return tuple(sorted(held))


def _leave_rights(folder: Path, needed: Sequence[Path], *, has_namespaces: bool) -> set[Wall]:
    held = set()
    if has_namespaces:
        held |= {Wall.NETWORK, Wall.PROCESSES}
        if namespaces.mount_folder(folder):
            held.add(Wall.FOLDER)
            os.chdir(folder)  # the current folder is the one that was hidden
    if namespaces.become_nobody(folder, needed):
        held.add(Wall.USER)
    if has_namespaces:
        namespaces.own_user()
    with suppress(OSError):
        kernel.drop_capabilities()
    return held


def _close_kernel(readable: Sequence[Path], writable: Sequence[Path]) -> set[Wall]:
    held = set()
    with suppress(OSError):
        kernel.die_with_parent(signal.SIGKILL)  # leaving rights has ended this
        kernel.gain_nothing_anew()
        kernel.hide_memory()
    with suppress(OSError):
        landlock.restrict(readable, writable)
        held.add(Wall.FILES)
    with suppress(OSError):
        seccomp.refuse_calls()
        held |= {Wall.SYSCALLS, Wall.NETWORK, Wall.PROCESSES}
    return held
