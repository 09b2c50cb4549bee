"""The archive of a plugin, checked as a whole before anything of it is written. No Django.

One plugin an archive: a folder with an `__init__.py`, or a single `.py` file. Everything else that an
archive can hold (links, devices, odd names, what leaves its folder, what swells) is refused.
"""

from __future__ import annotations

import io
import re
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import PurePosixPath

from plugins_app.discovery import is_valid_slug

MAX_FILES = 200
MAX_BYTES = 8 * 1024 * 1024
#: Times that the content may be larger than the archive; nothing that people write packs better.
MAX_RATIO = 100
MAX_DEPTH = 8
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._+-]{0,99}")
# Names that Windows keeps for devices, with and without an ending.
_DEVICES = {
    "con",
    "prn",
    "aux",
    "nul",
    *(f"{kind}{n}" for kind in ("com", "lpt") for n in range(10)),
}
_TAR_BLOCKS = 1024 * 1024  # what a tar file holds besides the content, with room
_UNIX_TYPE, _UNIX_FILE, _UNIX_FOLDER = 0o170000, 0o100000, 0o040000
_ENCRYPTED = 0x1


class ArchiveError(Exception):
    """An archive that is not taken; the message says why."""


def read_archive(content: bytes) -> tuple[str, dict[str, bytes]]:
    """The plugin's slug and its files by their names inside its folder. Raises ArchiveError."""
    files: dict[str, bytes] = {}
    for name, data in _entries(content):
        _check_name(name)
        if name in files:
            raise ArchiveError(f"holds {name} twice")
        files[name] = data
    if not files:
        raise ArchiveError("holds no files")
    _check_cases(files)
    return _one_plugin(files)


def _entries(content: bytes) -> Iterator[tuple[str, bytes]]:
    """Name and content of each file. Raises ArchiveError."""
    most = min(MAX_BYTES, MAX_RATIO * len(content))
    try:
        if content[:4] == b"PK\x03\x04":
            yield from _of_zip(content, most)
        elif content[:2] == b"\x1f\x8b":
            yield from _of_tar(_unpacked(content, most + _TAR_BLOCKS), most)
        elif content[257:262] == b"ustar":
            yield from _of_tar(content, MAX_BYTES)
        else:
            raise ArchiveError("is no zip and no tar file, plain or gzipped")
    except (zipfile.BadZipFile, tarfile.TarError, zlib.error, EOFError) as error:
        raise ArchiveError(f"is damaged: {error}") from error
    except (OSError, ValueError, OverflowError, NotImplementedError, RuntimeError) as error:
        raise ArchiveError(f"cannot be read: {error}") from error


def _of_zip(content: bytes, most: int) -> Iterator[tuple[str, bytes]]:
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        members = archive.infolist()
        if len(members) > 2 * MAX_FILES:
            raise ArchiveError(f"holds more than {MAX_FILES} files")
        _check_total(sum(member.file_size for member in members), most)
        num_files = room = 0
        for member in members:
            kind = (member.external_attr >> 16) & _UNIX_TYPE
            if kind not in (0, _UNIX_FILE, _UNIX_FOLDER):
                raise ArchiveError(f"holds a link or a device: {_shown(member.filename)}")
            if member.flag_bits & _ENCRYPTED:
                raise ArchiveError("is encrypted")
            if member.is_dir():
                _check_name(member.filename.rstrip("/"))
                continue
            num_files += 1
            _check_number(num_files)
            # What the archive says of a size may be a lie.
            with archive.open(member) as opened:
                data = opened.read(most - room + 1)
            room += len(data)
            _check_total(room, most)
            yield member.filename, data


def _unpacked(content: bytes, most: int) -> bytes:
    """The gzipped content, one stream after the other."""
    unpacked, rest = b"", content
    while rest[:2] == b"\x1f\x8b":
        stream = zlib.decompressobj(wbits=31)
        unpacked += stream.decompress(rest, most + 1 - len(unpacked))
        if len(unpacked) > most:
            raise ArchiveError("holds too much for its size")
        if not stream.eof:
            raise ArchiveError("is damaged: it ends early")
        rest = stream.unused_data
    return unpacked


def _of_tar(content: bytes, most: int) -> Iterator[tuple[str, bytes]]:
    num_files = room = 0
    with tarfile.open(fileobj=io.BytesIO(content), mode="r:") as archive:
        for number, member in enumerate(archive):
            _check_number(number // 2)
            if member.isdir():
                _check_name(member.name)
                continue
            if member.size < 0:
                raise ArchiveError("is damaged: a size below zero")
            if member.type not in (tarfile.REGTYPE, tarfile.AREGTYPE) or member.issparse():
                raise ArchiveError(f"holds a link or a device: {_shown(member.name)}")
            num_files, room = num_files + 1, room + member.size
            _check_number(num_files)
            _check_total(room, most)
            opened = archive.extractfile(member)
            data = opened.read() if opened is not None else b""
            if len(data) != member.size:
                raise ArchiveError("is damaged: it ends early")
            yield member.name, data


def _check_number(num_files: int) -> None:
    if num_files > MAX_FILES:
        raise ArchiveError(f"holds more than {MAX_FILES} files")


def _check_total(num_bytes: int, most: int) -> None:
    if num_bytes > most:
        what = "is larger than" if most == MAX_BYTES else "holds too much for its size:"
        raise ArchiveError(f"{what} {most} bytes when unpacked")


def _check_name(name: str) -> None:
    """Raises ArchiveError for a name that some system would read as another one."""
    parts = name.removeprefix("./").split("/")
    if len(parts) > MAX_DEPTH:
        raise ArchiveError(f"is deeper than {MAX_DEPTH} folders: {_shown(name)}")
    for part in parts:
        if part == ".." or name.startswith("/"):
            raise ArchiveError(f"leaves its folder: {_shown(name)}")
        if not _NAME.fullmatch(part) or part.endswith("."):
            raise ArchiveError(f"has a name that not every system takes: {_shown(name)}")
        if part.split(".")[0].lower() in _DEVICES:
            raise ArchiveError(f"has the name of a device: {_shown(name)}")
        if part == "__pycache__" or part.endswith((".pyc", ".pyo")):
            raise ArchiveError(f"holds compiled files: {_shown(name)}")


def _check_cases(files: dict[str, bytes]) -> None:
    """No two names that differ by case alone, and no file where a folder is, also so."""
    seen: dict[str, str] = {}
    for name in files:
        for part in [PurePosixPath(name), *PurePosixPath(name).parents][:-1]:
            known = seen.setdefault(str(part).lower(), str(part))
            if known != str(part):
                raise ArchiveError(f"holds names that differ by case alone: {known}, {part}")
    lowered = {name.lower() for name in files}
    for name in files:
        for folder in list(PurePosixPath(name.lower()).parents)[:-1]:
            if str(folder) in lowered:
                raise ArchiveError(f"holds a file and a folder of one name: {folder}")


def _one_plugin(files: dict[str, bytes]) -> tuple[str, dict[str, bytes]]:
    paths = {PurePosixPath(name): data for name, data in files.items()}
    tops = {path.parts[0] for path in paths}
    if len(tops) != 1:
        raise ArchiveError("must hold one plugin: one folder, or one .py file")
    (top,) = tops
    if len(paths) == 1 and PurePosixPath(top) in paths:
        if not top.endswith(".py"):
            raise ArchiveError("must hold one plugin: one folder, or one .py file")
        slug, inside = top.removesuffix(".py"), {"__init__.py": files[next(iter(files))]}
    else:
        slug = top
        inside = {str(PurePosixPath(*path.parts[1:])): data for path, data in paths.items()}
        if "__init__.py" not in inside:
            raise ArchiveError(f"has no {top}/__init__.py")
    if not is_valid_slug(slug):
        raise ArchiveError(
            f"{_shown(slug)} is no name for a plugin: a-z 0-9 _ - from a letter or digit on, at most 63"
        )
    return slug, inside


def _shown(name: str) -> str:
    return repr(name[:80])
