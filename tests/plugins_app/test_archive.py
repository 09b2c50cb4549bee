"""An archive is checked as a whole: what could do harm anywhere is refused before anything is written."""

from __future__ import annotations

import gzip
import io
import stat
import tarfile
import zipfile
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from plugins_app import archive as module
from plugins_app.archive import ArchiveError, read_archive

GOOD = {"loud/__init__.py": b"a = 1", "loud/words/list.txt": b"b"}


def zipped(files: Any = GOOD, **attributes: Any) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as made:
        for name, content in dict(files).items():
            entry = zipfile.ZipInfo(name)
            entry.compress_type = zipfile.ZIP_DEFLATED
            for key, value in attributes.items():
                setattr(entry, key, value)
            made.writestr(entry, content)
    return buffer.getvalue()


def tarred(files: Any = GOOD, mode: str = "w:gz", **attributes: Any) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode=mode) as made:  # type: ignore[call-overload]
        for name, content in dict(files).items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            for key, value in attributes.items():
                setattr(entry, key, value)
            made.addfile(entry, io.BytesIO(content))
    return buffer.getvalue()


@pytest.mark.parametrize("packed", [zipped(), tarred(), tarred(mode="w")])
def test_a_folder_is_a_plugin(packed: bytes) -> None:
    slug, files = read_archive(packed)
    assert slug == "loud"
    assert files == {"__init__.py": b"a = 1", "words/list.txt": b"b"}


@pytest.mark.parametrize("pack", [zipped, tarred])
def test_a_single_file_is_a_plugin(pack: Any) -> None:
    assert read_archive(pack({"loud.py": b"a = 1"})) == ("loud", {"__init__.py": b"a = 1"})


NAMES = [
    ("loud/../../etc/cron", "leaves its folder"),
    ("../loud/__init__.py", "leaves its folder"),
    ("/etc/passwd", "leaves its folder"),
    ("C:/windows/x", "not every system"),
    ("loud\\..\\x", "not every system"),
    ("loud/.hidden", "not every system"),
    ("loud//x", "not every system"),
    ("loud/a b", "not every system"),
    ("loud/x.", "not every system"),
    ("loud/ü.py", "not every system"),
    ("loud/a:b", "not every system"),
    ("loud/" + "x" * 101, "not every system"),
    ("loud/con", "device"),
    ("loud/LPT1.txt", "device"),
    ("loud/" + "a/" * 8 + "x", "deeper"),
    ("loud/__pycache__/x", "compiled"),
    ("loud/x.pyc", "compiled"),
    ("Loud/x", "case alone"),
    ("loud/words/LIST.txt", "case alone"),
    ("loud/words", "a file and a folder"),
    ("other/__init__.py", "one plugin"),
]


@pytest.mark.parametrize("pack", [zipped, tarred])
@pytest.mark.parametrize(("name", "reason"), NAMES)
def test_a_name_that_means_another_place_somewhere_is_refused(
    pack: Any, name: str, reason: str
) -> None:
    with pytest.raises(ArchiveError, match=reason):
        read_archive(pack({**GOOD, name: b"x"}))


@pytest.mark.parametrize(
    "files",
    [
        {},
        {"loud/other.py": b""},
        {"loud.txt": b""},
        {"scan/__init__.py": b""},
        {"LOUD/__init__.py": b""},
        {"a.py": b"", "b.py": b""},
    ],
)
def test_what_is_not_one_plugin_is_refused(files: Any) -> None:
    for packed in (zipped(files), tarred(files)):
        with pytest.raises(ArchiveError):
            read_archive(packed)


@pytest.mark.parametrize(
    "kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE]
)
def test_links_and_devices_in_a_tar_are_refused(kind: bytes) -> None:
    packed = tarred({"loud/__init__.py": b""}, type=kind, linkname="/etc/passwd")
    with pytest.raises(ArchiveError, match="link or a device"):
        read_archive(packed)


@pytest.mark.parametrize("kind", [stat.S_IFLNK, stat.S_IFCHR, stat.S_IFIFO])
def test_links_and_devices_in_a_zip_are_refused(kind: int) -> None:
    packed = zipped({"loud/__init__.py": b"/etc/passwd"}, external_attr=(kind | 0o777) << 16)
    with pytest.raises(ArchiveError, match="link or a device"):
        read_archive(packed)


def test_a_name_that_stands_twice_is_refused() -> None:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as made:
        for content in (b"a", b"b"):
            entry = tarfile.TarInfo("loud/__init__.py")
            entry.size = 1
            made.addfile(entry, io.BytesIO(content))
    with pytest.raises(ArchiveError, match="twice"):
        read_archive(buffer.getvalue())


@pytest.mark.parametrize("pack", [zipped, tarred])
def test_a_bomb_is_refused(pack: Any) -> None:
    with pytest.raises(ArchiveError, match="too much for its size"):
        read_archive(pack({**GOOD, "loud/zeros": b"\0" * 7_000_000}))


def test_a_zip_that_lies_about_a_size_is_refused() -> None:
    packed = bytearray(zipped({"loud/__init__.py": b"\0" * 100_000}))
    true_size = (100_000).to_bytes(4, "little")
    assert packed.count(true_size) == 2
    lying = bytes(packed).replace(true_size, (10).to_bytes(4, "little"))
    with pytest.raises(ArchiveError):
        read_archive(lying)


@pytest.mark.parametrize("pack", [zipped, tarred])
def test_too_many_files_are_refused(pack: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_FILES", 3)
    with pytest.raises(ArchiveError, match="more than 3 files"):
        read_archive(pack({**GOOD, "loud/c": b"", "loud/d": b""}))


def test_what_is_too_large_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_BYTES", 5)
    for packed in (zipped(), tarred(mode="w")):
        with pytest.raises(ArchiveError, match="larger than 5 bytes"):
            read_archive(packed)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"PK\x03\x04",
        b"\x1f\x8b",
        b"hello",
        zipped()[:-30],
        zipped()[:60],
        tarred()[:60],
        tarred(mode="w")[:700],
        gzip.compress(b"no tar"),
        gzip.compress(gzip.compress(tarred())),
    ],
    ids=[
        "nothing",
        "half a zip head",
        "half a gzip head",
        "text",
        "a zip cut short",
        "a zip's head",
        "a tar.gz's head",
        "a tar cut short",
        "no tar inside",
        "gzip twice",
    ],
)
def test_what_is_damaged_or_something_else_is_refused(content: bytes) -> None:
    with pytest.raises(ArchiveError):
        read_archive(content)


def test_a_size_below_zero_does_not_lead_round_in_a_circle() -> None:
    header = bytearray(tarred(mode="w")[:512])
    header[124:136] = (-512).to_bytes(12, "big", signed=True)
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    for kind in (tarfile.REGTYPE, tarfile.XHDTYPE, tarfile.GNUTYPE_LONGNAME):
        made = bytearray(header)
        made[156:157] = kind
        made[148:156] = b" " * 8
        made[148:156] = b"%06o\0 " % sum(made)
        with pytest.raises(ArchiveError):
            read_archive(bytes(made) * 4)


@given(
    st.sampled_from([zipped(), tarred(), tarred(mode="w")]),
    st.lists(st.tuples(st.integers(0, 20_000), st.integers(0, 255)), min_size=1, max_size=8),
    st.integers(0, 200),
)
@settings(max_examples=300, deadline=None)
def test_whatever_is_changed_in_an_archive_it_is_read_or_refused(
    packed: bytes, changes: Any, cut: int
) -> None:
    content = bytearray(packed)
    for place, value in changes:
        content[place % len(content)] = value
    try:
        slug, files = read_archive(bytes(content[: len(content) - cut]))
    except ArchiveError:
        return
    assert slug == slug.lower()
    assert all(".." not in name and not name.startswith("/") for name in files)
