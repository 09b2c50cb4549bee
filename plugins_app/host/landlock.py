"""The wall around files: Landlock, which lets a process give up all but a few folders for good.

Reading, writing, starting programs, and on newer kernels TCP, signals and abstract sockets to
anybody outside. Linux 5.13 or later, where the kernel was built and started with it.
"""

from __future__ import annotations

import ctypes
import os
import stat
from collections.abc import Iterable
from pathlib import Path

from plugins_app.host.kernel import syscall

_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446
_QUERY_VERSION = 1
_RULE_PATH_BENEATH = 1

_EXECUTE, _WRITE_FILE, _READ_FILE, _READ_DIR = 1 << 0, 1 << 1, 1 << 2, 1 << 3
_REMOVE_DIR, _REMOVE_FILE = 1 << 4, 1 << 5
_MAKE_DIR, _MAKE_REG = 1 << 7, 1 << 8
_TRUNCATE = 1 << 14
# By version of the interface: how many of the rights on files it knows.
_NUM_FILE_RIGHTS = {1: 13, 2: 14, 3: 15, 4: 15}
_NUM_FILE_RIGHTS_NOW = 16
_TCP = 0b11  # bind and connect
_SCOPES = 0b11  # abstract sockets and signals
_VERSION_WITH_TCP, _VERSION_WITH_SCOPES = 4, 6

_READ = _READ_FILE | _READ_DIR
_WRITE = _READ | _WRITE_FILE | _TRUNCATE | _REMOVE_DIR | _REMOVE_FILE | _MAKE_DIR | _MAKE_REG
_ON_FILES = _EXECUTE | _WRITE_FILE | _READ_FILE | _TRUNCATE


class _Ruleset(ctypes.Structure):
    _fields_ = [
        ("files", ctypes.c_uint64),
        ("network", ctypes.c_uint64),
        ("scopes", ctypes.c_uint64),
    ]


class _PathBeneath(ctypes.Structure):
    _pack_ = 1
    _fields_ = [("allowed", ctypes.c_uint64), ("parent", ctypes.c_int32)]


def restrict(readable: Iterable[Path], writable: Iterable[Path]) -> int:
    """From here on only these can be reached. The version of Landlock that holds.

    `no_new_privs` must be set. Raises OSError where the kernel has no Landlock.
    """
    version = syscall(_CREATE_RULESET, None, ctypes.c_size_t(0), ctypes.c_uint32(_QUERY_VERSION))
    known = (1 << _NUM_FILE_RIGHTS.get(version, _NUM_FILE_RIGHTS_NOW)) - 1
    ruleset = _Ruleset(
        known,
        _TCP if version >= _VERSION_WITH_TCP else 0,
        _SCOPES if version >= _VERSION_WITH_SCOPES else 0,
    )
    size = 24 if version >= _VERSION_WITH_SCOPES else 16 if version >= _VERSION_WITH_TCP else 8
    rules = syscall(
        _CREATE_RULESET, ctypes.byref(ruleset), ctypes.c_size_t(size), ctypes.c_uint32(0)
    )
    try:
        for path in readable:
            _allow(rules, path, _READ & known)
        for path in writable:
            _allow(rules, path, _WRITE & known)
        syscall(_RESTRICT_SELF, ctypes.c_int(rules), ctypes.c_uint32(0))
    finally:
        os.close(rules)
    return version


def _allow(rules: int, path: Path, rights: int) -> None:
    try:
        place = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except OSError:
        return  # what is not there needs no rule
    try:
        if not stat.S_ISDIR(os.fstat(place).st_mode):
            rights &= _ON_FILES
        rule = _PathBeneath(rights, place)
        syscall(
            _ADD_RULE,
            ctypes.c_int(rules),
            ctypes.c_int(_RULE_PATH_BENEATH),
            ctypes.byref(rule),
            ctypes.c_uint32(0),
        )
    finally:
        os.close(place)
