"""Typed readers of environment variables that fail loudly and name the variable.

Every reader takes its value from `NAME` or, for secrets in container files, from the file that
`NAME_FILE` names.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path

from llamagpu.lib.allow_list import AllowList
from llamagpu.lib.memory import MemoryLimit
from llamagpu.lib.secret_files import read_or_create

_TRUE = {"1", "true", "yes", "on"}
_FALSE = {"0", "false", "no", "off"}


class EnvError(Exception):
    """An environment variable holds a value that cannot be used."""


class Env:
    """Reads one mapping of variables, `os.environ` unless a test passes its own."""

    def __init__(self, variables: Mapping[str, str] | None = None) -> None:
        self._variables = os.environ if variables is None else variables

    def text(self, name: str, default: str = "") -> str:
        """The value, or `default` when the variable is unset or empty."""
        value = self._variables.get(name, "").strip()
        if value:
            return value
        path = self._variables.get(f"{name}_FILE", "").strip()
        if not path:
            return default
        try:
            return Path(path).read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise EnvError(f"{name}_FILE={path}: the file cannot be read: {error}") from error

    def secret(self, name: str, path: Path) -> str:
        """The value, or a random one that is made once and kept in `path`."""
        try:
            return self.text(name) or read_or_create(path)
        except (OSError, ValueError) as error:
            raise EnvError(f"{name} is not set and its file cannot be used: {error}") from error

    def is_set(self, name: str) -> bool:
        return bool(self.text(name))

    def choice(self, name: str, default: str, allowed: tuple[str, ...]) -> str:
        value = self.text(name, default).lower()
        if value not in allowed:
            raise EnvError(f"{name}={value!r}: must be one of {', '.join(allowed)}")
        return value

    def boolean(self, name: str, default: bool) -> bool:
        value = self.text(name).lower()
        if not value:
            return default
        if value in _TRUE | _FALSE:
            return value in _TRUE
        raise EnvError(f"{name}={value!r}: must be true or false")

    def integer(self, name: str, default: int, *, low: int, high: int) -> int:
        value = self.text(name)
        if not value:
            return default
        try:
            number = int(value)
        except ValueError as error:
            raise EnvError(f"{name}={value!r}: must be a whole number") from error
        if not low <= number <= high:
            raise EnvError(f"{name}={number}: must be between {low} and {high}")
        return number

    def memory(self, name: str, default: str) -> MemoryLimit:
        """A share of the machine's memory like `80%`, or a size like `12GiB`."""
        value = self.text(name, default)
        try:
            return MemoryLimit.parse(value)
        except ValueError as error:
            raise EnvError(f"{name}={value!r}: {error}") from error

    def integers(self, name: str, *, low: int, high: int) -> tuple[int, ...]:
        """Whole numbers separated by commas or spaces."""
        numbers = []
        for word in self.words(name):
            if not (word.isascii() and word.isdigit()):
                raise EnvError(f"{name}={self.text(name)!r}: must be whole numbers")
            number = int(word)
            if not low <= number <= high:
                raise EnvError(f"{name}={self.text(name)!r}: must be between {low} and {high}")
            numbers.append(number)
        return tuple(numbers)

    def address(self, name: str) -> tuple[str, int] | None:
        """`host:port` to listen on, IPv6 in brackets; None where the variable is unset."""
        value = self.text(name)
        if not value:
            return None
        host, _, port = value.rpartition(":")
        if not host or not port.isascii() or not port.isdigit() or not 0 < int(port) < 65536:
            raise EnvError(f"{name}={value!r}: must be host:port, such as 127.0.0.1:9464")
        return host.strip("[]"), int(port)

    def words(self, name: str, default: tuple[str, ...] = ()) -> tuple[str, ...]:
        """Values separated by commas or spaces."""
        value = self.text(name)
        return tuple(part for part in re.split(r"[,\s]+", value) if part) if value else default

    def hosts(self, name: str) -> AllowList:
        """Hosts, `host:port` and networks; empty allows none."""
        try:
            return AllowList.parse(self.words(name))
        except ValueError as error:
            raise EnvError(f"{name}: {error}") from error

    def paths(self, name: str) -> tuple[Path, ...]:
        """Folders separated as in PATH."""
        parts = [part.strip() for part in self.text(name).split(os.pathsep)]
        return tuple(Path(part).expanduser().absolute() for part in parts if part)

    def path(self, name: str, default: Path) -> Path:
        value = self.text(name)
        return Path(value).expanduser().absolute() if value else default
