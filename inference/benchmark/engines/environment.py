"""A scratch environment of one peer: a virtual environment with pinned packages, kept between runs."""

from __future__ import annotations

import hashlib
import os
import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from inference.benchmark.engines.base import EngineUnavailableError, Say, Setting
from inference.pulling.child import run_program

_PINS = Path(__file__).resolve().parents[1] / "peers"
_INHERITED = ("HOME", "LANG", "TMPDIR", "USER", "LD_LIBRARY_PATH")
_SHOWN = ("Collecting ", "Downloading ", "Building ", "Installing ")
_WIDTH = 60


class Environment:
    """`<cache dir>/<name>/`, with the packages of `peers/<name>.txt` once `make` has been called.

    `unwanted` packages are dependencies that a benchmark of text models does without and that may
    not fit the build of torch that was found; they are removed after the installation.
    """

    def __init__(
        self,
        name: str,
        setting: Setting,
        *,
        unwanted: Sequence[str] = (),
        build_variables: Mapping[str, str] | None = None,
    ) -> None:
        self.folder = setting.cache_dir / name
        self._pins = _PINS / f"{name}.txt"
        self._unwanted = tuple(unwanted)
        self._build_variables = dict(build_variables or {})

    @property
    def python(self) -> Path:
        return self.program("python")

    @property
    def version(self) -> str:
        """The peer's own package, which its pins name first, as `name version`."""
        return self.pinned()[0].replace("==", " ")

    def pinned(self) -> list[str]:
        """The requirements, without comments."""
        lines = self._pins.read_text(encoding="utf-8").splitlines()
        return [line for line in lines if line and not line.startswith("#")]

    def program(self, name: str) -> Path:
        """A program of the environment."""
        return self.folder / "venv" / "bin" / name

    def variables(self) -> dict[str, str]:
        """What the peer's processes inherit: no secrets and no hub."""
        kept = {name: os.environ[name] for name in _INHERITED if name in os.environ}
        return kept | {
            "PATH": f"{self.folder / 'venv' / 'bin'}{os.pathsep}{os.environ.get('PATH', '')}",
            "HF_HUB_OFFLINE": "1",
            "DO_NOT_TRACK": "1",
            "TOKENIZERS_PARALLELISM": "false",
            "PYTHONUNBUFFERED": "1",
        }

    def make(self, say: Say) -> None:
        """Install what is pinned, unless that was done. Raises EngineUnavailableError."""
        stamp = self.folder / f"installed-{self._digest()}"
        if stamp.is_file() and self.python.exists():
            return
        shutil.rmtree(self.folder / "venv", ignore_errors=True)
        self.folder.mkdir(parents=True, exist_ok=True)
        say("making the environment")
        self.call([sys.executable, "-m", "venv", str(self.folder / "venv")], say)
        pip = [str(self.python), "-m", "pip"]
        quiet = ["--no-input", "--disable-pip-version-check"]
        # --prefer-binary: a source package is built only where there is nothing else.
        install = [*pip, "install", *quiet, "--progress-bar", "off", "--prefer-binary"]
        self.call([*install, "-r", str(self._pins)], say, self._build_variables)
        if self._unwanted:
            self.call([*pip, "uninstall", *quiet, "--yes", *self._unwanted], say)
        for old in self.folder.glob("installed-*"):
            old.unlink()
        stamp.touch()

    def call(
        self, command: Sequence[str], say: Say, variables: Mapping[str, str] | None = None
    ) -> None:
        """Run a program to its end. Raises EngineUnavailableError with its last words."""

        def on_line(line: str) -> bool:
            if line.lstrip().startswith(_SHOWN):
                say(line.strip()[:_WIDTH])
            return False

        outcome = run_program(command, on_line, variables)
        if outcome.status != 0:
            errors = [line for line in outcome.last_lines if "rror" in line] or outcome.last_lines
            program = " ".join(Path(part).name for part in command[:4])
            raise EngineUnavailableError(f"{program}: {' | '.join(errors[-3:])}")

    def _digest(self) -> str:
        parts = (*self.pinned(), *self._unwanted, repr(self._build_variables), sys.version)
        return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]
