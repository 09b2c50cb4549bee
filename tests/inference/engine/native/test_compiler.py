"""The kernels' library: built once whoever asks, and refused where others could have changed it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from inference.engine.native.compiler import (
    FLAGS,
    build_library,
    find_compiler,
    find_library,
    library_file,
    open_library,
)
from inference.engine.native.library import KernelError, KernelLibrary

ROOT = Path(__file__).resolve().parents[4]


def write_compiler(folder: Path, script: str) -> Path:
    """A program that is called like a compiler."""
    file = folder / "compiler"
    file.write_text(f"#!/bin/sh\n{script}\n")
    file.chmod(0o755)
    return file


def test_what_was_built_is_found_and_not_built_again(kernel_cache: Path) -> None:
    file = find_library(kernel_cache)
    assert file is not None
    before = file.stat()
    assert build_library(kernel_cache) == file
    after = file.stat()
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


def test_an_empty_cache_has_no_library(tmp_path: Path) -> None:
    assert find_library(tmp_path) is None


def test_a_machine_without_a_compiler_is_told_to_install_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CXX", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(KernelError, match=r"no C\+\+ compiler was found \(g\+\+, .*install one"):
        build_library(tmp_path / "cache")
    assert find_library(tmp_path / "cache") is None
    assert not (tmp_path / "cache").exists()


def test_cxx_names_the_compiler(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    compiler = write_compiler(tmp_path, "exit 0")
    monkeypatch.setenv("CXX", str(compiler))
    assert find_compiler() == str(compiler)
    monkeypatch.setenv("CXX", "/nonexistent")
    with pytest.raises(KernelError, match="/nonexistent"):
        find_compiler()


def test_the_compilers_first_complaint_is_the_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = """
echo "In file included from step.cpp:" >&2
echo "simd.h:7: error: what is a vector?" >&2
echo "simd.h:9: error: another one" >&2
exit 1"""
    monkeypatch.setenv("CXX", str(write_compiler(tmp_path, script)))
    with pytest.raises(KernelError, match=r"failed: simd.h:7: error: what is a vector\?$"):
        build_library(tmp_path)
    assert [file.suffix for file in (tmp_path / "kernels").iterdir()] == [".lock"]


def test_a_compiler_that_fails_in_silence_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CXX", str(write_compiler(tmp_path, "exit 1")))
    with pytest.raises(KernelError, match="compiler failed: no message"):
        build_library(tmp_path)


def test_a_compiler_that_writes_nothing_is_an_error_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CXX", str(write_compiler(tmp_path, "exit 0")))
    with pytest.raises(KernelError, match="cannot be built"):
        build_library(tmp_path)


def test_a_cache_folder_that_cannot_be_made_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(KernelError, match="cannot be made"):
        build_library(tmp_path / "file")


def test_two_processes_at_once_build_one_file(tmp_path: Path, library: KernelLibrary) -> None:
    # A compiler that notes each call, and is slow enough for both to meet.
    log, cache = tmp_path / "calls", tmp_path / "cache"
    script = f"""
echo called >> {log}
sleep 1
while [ "$1" != -o ]; do shift; done
echo library > "$2"
"""
    compiler = write_compiler(tmp_path, script)
    code = (
        "import sys; from pathlib import Path\n"
        "from inference.engine.native.compiler import build_library\n"
        "print(build_library(Path(sys.argv[1])))"
    )
    builders = [
        subprocess.Popen(
            [sys.executable, "-c", code, str(cache)],
            cwd=ROOT,
            env={**os.environ, "CXX": str(compiler)},
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(2)
    ]
    files = {builder.communicate()[0].strip() for builder in builders}
    assert [builder.returncode for builder in builders] == [0, 0]
    assert len(files) == 1
    assert Path(files.pop()).read_text() == "library\n"
    assert log.read_text() == "called\n"


def test_another_flag_or_compiler_is_another_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    compiler = find_compiler()
    file = library_file(tmp_path, compiler)
    assert library_file(tmp_path, compiler) == file
    assert library_file(tmp_path, compiler, (*FLAGS, "-g")) != file
    assert library_file(tmp_path, str(write_compiler(tmp_path, "exit 0"))) != file


@pytest.mark.parametrize("mode", [0o775, 0o757])
@pytest.mark.parametrize("is_folder", [False, True])
def test_what_others_could_have_written_is_not_loaded(
    mode: int, is_folder: bool, kernel_cache: Path, tmp_path: Path
) -> None:
    built = find_library(kernel_cache)
    assert built is not None
    folder = tmp_path / "kernels"
    folder.mkdir(mode=0o755)
    file = folder / built.name
    file.write_bytes(built.read_bytes())
    file.chmod(0o755)
    open_library(file)
    (folder if is_folder else file).chmod(mode)
    with pytest.raises(KernelError, match="another user could have changed it"):
        open_library(file)


def test_a_file_that_is_no_library_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "it.so"
    file.write_bytes(b"no library")
    file.chmod(0o755)
    with pytest.raises(KernelError, match="cannot be loaded"):
        open_library(file)


def test_a_library_with_other_structures_is_refused(tmp_path: Path) -> None:
    source, file = tmp_path / "other.cpp", tmp_path / "other.so"
    source.write_text('extern "C" void lg_sizes(int* out) { out[0] = 1; }')
    subprocess.run([find_compiler(), "-shared", "-fPIC", source, "-o", file], check=True)
    file.chmod(0o755)
    with pytest.raises(KernelError, match="other sizes"):
        open_library(file)
