"""Walls made of namespaces: no network, no other processes in sight, a small folder in memory.

Each is tried alone or together; where the kernel lets us have none, the other walls remain.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Sequence
from pathlib import Path

from plugins_app.host.kernel import mount, unmount, unshare

_NEW_MOUNTS, _NEW_IPC, _NEW_USER = 0x00020000, 0x08000000, 0x10000000
_NEW_PROCESSES, _NEW_NETWORK = 0x20000000, 0x40000000
_INSIDE = _NEW_MOUNTS | _NEW_IPC | _NEW_PROCESSES | _NEW_NETWORK

_PRIVATE_RECURSIVE = (1 << 18) | (1 << 14)
_NO_SUID_DEV_EXEC = 2 | 4 | 8
_NOBODY = 65534
#: What the files of a plugin's private folder may hold together, in bytes, and their number.
FOLDER_BYTES = 16 * 1024 * 1024
_FOLDER_FILES = 1024


def enter() -> bool:
    """New namespaces for this process and those that it forks. Whether the kernel lets us."""
    try:
        if os.geteuid() == 0:
            unshare(_INSIDE)
        else:
            _new_user(_INSIDE)
    except OSError:
        return False
    return True


def mount_folder(folder: Path) -> bool:
    """A bounded file system in memory at `folder`, seen by this process alone."""
    options = f"size={FOLDER_BYTES},nr_inodes={_FOLDER_FILES},mode=700"
    try:
        mount("none", "/", "none", _PRIVATE_RECURSIVE, "")
        mount("tmpfs", str(folder), "tmpfs", _NO_SUID_DEV_EXEC, options)
    except OSError:
        return False
    return True


def unmount_folder(folder: Path) -> None:
    """Undo `mount_folder`, where that was done."""
    with contextlib.suppress(OSError):
        unmount(str(folder))


def become_nobody(folder: Path, needed: Sequence[Path]) -> bool:
    """Leave root behind, where a stranger can read what is needed. Whether that was done.

    `folder` goes along.
    """
    if os.geteuid() != 0:
        return False
    os.seteuid(_NOBODY)
    is_readable = all(os.access(path, os.R_OK, effective_ids=True) for path in needed)
    os.seteuid(0)
    if not is_readable:
        return False
    os.chown(folder, _NOBODY, _NOBODY)
    os.setgroups([])
    os.setgid(_NOBODY)
    os.setuid(_NOBODY)
    return True


def own_user() -> bool:
    """A user namespace of one's own: nothing outside can be owned, processes are counted apart."""
    with contextlib.suppress(OSError):
        _new_user(0)
        return True
    return False


def _new_user(flags: int) -> None:
    user, group = os.getuid(), os.getgid()
    unshare(_NEW_USER | flags)
    # Without a map every file would belong to nobody. Groups cannot be set by then.
    with contextlib.suppress(OSError):
        Path("/proc/self/setgroups").write_text("deny", encoding="ascii")
    for name, number in (("uid_map", user), ("gid_map", group)):
        Path("/proc/self", name).write_text(f"{number} {number} 1", encoding="ascii")
