"""Builds the kernels with the machine's own C++ compiler, once, into a cache folder.

The library's name is a hash of sources, flags, compiler and CPU: whatever changes makes another
file, and a cache folder can be shared by machines of different kinds. A build takes some seconds and
knows nothing of any model.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import platform
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

from inference.engine.native.library import KernelError, KernelLibrary

SOURCE = Path(__file__).parent / "source"
_MAIN = "step.cpp"
# Without contraction a sum is rounded alike in every variant of a kernel; see `simd.h`.
FLAGS = (
    "-std=c++20", "-O3", "-march=native", "-ffp-contract=off", "-fno-math-errno",
    "-shared", "-fPIC", "-pthread",
)  # fmt: skip
_COMPILERS = ("g++", "c++", "clang++")
_BUILD_SECONDS = 300.0
_GROUP_OR_OTHERS_WRITE = 0o022


def find_compiler() -> str:
    """The path of a C++ compiler: `$CXX`, or the first of the usual names. Raises KernelError."""
    wanted = os.environ.get("CXX")
    for name in (wanted,) if wanted else _COMPILERS:
        if path := shutil.which(name):
            return path
    missing = wanted or ", ".join(_COMPILERS)
    raise KernelError(f"no C++ compiler was found ({missing}); install one, for example g++")


def library_file(cache_dir: Path, compiler: str, flags: tuple[str, ...] = FLAGS) -> Path:
    """Where the library for this machine lies, built or not."""
    digest = hashlib.sha256()
    for source in sorted(SOURCE.iterdir()):
        digest.update(source.name.encode() + source.read_bytes())
    for fact in (*flags, _version(compiler), _cpu()):
        digest.update(fact.encode() + b"\0")
    return cache_dir / "kernels" / f"{digest.hexdigest()[:24]}.so"


def find_library(cache_dir: Path) -> Path | None:
    """The library if it was built before; None where it is not, or there is no compiler to ask."""
    try:
        file = library_file(cache_dir, find_compiler())
    except KernelError:
        return None
    return file if file.is_file() else None


def build_library(cache_dir: Path, flags: tuple[str, ...] = FLAGS) -> Path:
    """The library, built now if need be. Raises KernelError with the compiler's first complaint."""
    compiler = find_compiler()
    file = library_file(cache_dir, compiler, flags)
    _make_private(file.parent)
    with _lock(file.with_suffix(".lock")):
        if not file.is_file():
            _compile(compiler, flags, file)
    return file


def open_library(file: Path) -> KernelLibrary:
    """Load a built library. Raises KernelError, also where others could have written the file."""
    for path in (file, file.parent):
        mode = path.stat()
        if mode.st_uid not in (os.geteuid(), 0) or mode.st_mode & _GROUP_OR_OTHERS_WRITE:
            raise KernelError(f"{path}: another user could have changed it; it is not loaded")
    return KernelLibrary(file)


def _compile(compiler: str, flags: tuple[str, ...], file: Path) -> None:
    draft = file.with_suffix(f".{os.getpid()}")
    command = [compiler, *flags, str(SOURCE / _MAIN), "-o", str(draft)]
    try:
        result = subprocess.run(
            command, capture_output=True, text=True, timeout=_BUILD_SECONDS, check=False
        )
        if result.returncode != 0:
            raise KernelError(f"{compiler} failed: {_complaint(result.stderr)}")
        draft.chmod(0o755)
        draft.replace(file)
    except subprocess.TimeoutExpired as error:
        raise KernelError(f"{compiler} was not done after {_BUILD_SECONDS:.0f} s") from error
    except OSError as error:
        raise KernelError(f"{file}: cannot be built: {error.strerror or error}") from error
    finally:
        draft.unlink(missing_ok=True)


def _complaint(output: str) -> str:
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    errors = [line for line in lines if "error" in line.lower()]
    return (errors or lines or ["no message"])[0][:300]


def _make_private(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o755)
    except OSError as error:
        raise KernelError(f"{folder}: cannot be made: {error.strerror or error}") from error


@contextlib.contextmanager
def _lock(file: Path) -> Iterator[None]:
    """One builder at a time, over all processes; the lock goes with the process that holds it."""
    try:
        descriptor = os.open(file, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o644)
    except OSError as error:
        raise KernelError(f"{file}: cannot be opened: {error.strerror or error}") from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _version(compiler: str) -> str:
    """Its path, size and time: asking it for its version would start a process at every load."""
    path = Path(compiler).resolve()
    facts = path.stat()
    return f"{path} {facts.st_size} {facts.st_mtime_ns}"


def _cpu() -> str:
    """What `-march=native` looks at: the kind of CPU and its instructions."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.machine()
    names = ("vendor_id", "cpu family", "model\t", "flags", "Features", "CPU part")
    facts = [line for line in lines if line.startswith(names)]
    return "\n".join([platform.machine(), *dict.fromkeys(facts)])
