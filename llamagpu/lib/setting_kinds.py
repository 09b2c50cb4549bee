"""What a setting's value may be: one rule and one message for the environment, the API and the page.

A kind reads its value from an environment variable, from JSON and from a form, and shows it as JSON.
All ways lead through the readers of `llamagpu.lib.env`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from llamagpu.lib.env import Env, EnvError
from llamagpu.lib.retention import Retention


class Kind:
    """Subclasses give `type` (for the API), `read`, `spell` and, where JSON differs, `show`."""

    type = ""

    def read(self, env: Env, name: str) -> Any:
        """The value in the environment, or the default. Raises EnvError that begins with `name`."""
        raise NotImplementedError

    def spell(self, value: Any) -> str:
        """A JSON value as the environment would hold it. Raises ValueError for a wrong type."""
        raise NotImplementedError

    def show(self, value: Any) -> Any:
        """A value that `read` gave, as JSON."""
        return value

    def from_form(self, text: str) -> Any:
        """What somebody typed, as JSON."""
        return text

    def limits(self) -> dict[str, Any]:
        """What the API says of the allowed values."""
        return {}

    def parse(self, name: str, value: Any) -> Any:
        """A JSON value, checked. Raises EnvError that begins with `name`."""
        try:
            text = self.spell(value)
        except ValueError as error:
            raise EnvError(f"{name}: {error}") from error
        return self.read(Env({name: text}), name)


@dataclass(frozen=True, slots=True)
class Whole(Kind):
    """A whole number between `low` and `high`, both included."""

    default: int
    low: int
    high: int
    type = "integer"

    def read(self, env: Env, name: str) -> int:
        return env.integer(name, self.default, low=self.low, high=self.high)

    def spell(self, value: Any) -> str:
        if isinstance(value, bool) or not isinstance(value, int):
            raise ValueError("must be a whole number")
        if abs(value) >= 10**18:
            raise ValueError(f"must be between {self.low} and {self.high}")
        return str(value)

    def from_form(self, text: str) -> Any:
        return int(text) if re.fullmatch(r"[+-]?[0-9]{1,18}", text, re.ASCII) else text

    def limits(self) -> dict[str, Any]:
        return {"minimum": self.low, "maximum": self.high}


@dataclass(frozen=True, slots=True)
class Choice(Kind):
    """One of some words; `convert` makes of it what the code wants, `word` goes back."""

    default: str
    allowed: tuple[str, ...]
    convert: Callable[[str], Any] = str
    word: Callable[[Any], str] = str
    type = "string"

    def read(self, env: Env, name: str) -> Any:
        return self.convert(env.choice(name, self.default, self.allowed))

    def spell(self, value: Any) -> str:
        return _text(value)

    def show(self, value: Any) -> str:
        return self.word(value)

    def limits(self) -> dict[str, Any]:
        return {"choices": list(self.allowed)}


@dataclass(frozen=True, slots=True)
class Memory(Kind):
    """A share of the memory or a size."""

    default: str
    type = "string"

    def read(self, env: Env, name: str) -> Any:
        return env.memory(name, self.default)

    def spell(self, value: Any) -> str:
        return _text(value)

    def show(self, value: Any) -> str:
        return str(value.text)


@dataclass(frozen=True, slots=True)
class Keeping(Kind):
    """What is kept of jobs that have ended, and for how long."""

    default: str
    type = "string"

    def read(self, env: Env, name: str) -> Retention:
        value = env.text(name, self.default)
        try:
            return Retention.parse(value)
        except ValueError as error:
            raise EnvError(f"{name}={value!r}: {error}") from error

    def spell(self, value: Any) -> str:
        return _text(value)

    def show(self, value: Any) -> str:
        return str(value)


@dataclass(frozen=True, slots=True)
class Numbers(Kind):
    """Whole numbers, possibly none."""

    low: int
    high: int
    type = "array"

    def read(self, env: Env, name: str) -> tuple[int, ...]:
        return env.integers(name, low=self.low, high=self.high)

    def spell(self, value: Any) -> str:
        if not isinstance(value, list) or any(
            isinstance(number, bool) or not isinstance(number, int) for number in value
        ):
            raise ValueError("must be an array of whole numbers")
        if len(value) > 1024:
            raise ValueError("must have at most 1024 numbers")
        return ",".join(str(number) for number in value)

    def show(self, value: Sequence[int]) -> list[int]:
        return list(value)

    def from_form(self, text: str) -> Any:
        words = [word for word in re.split(r"[,\s]+", text) if word]
        if all(re.fullmatch(r"[0-9]{1,9}", word, re.ASCII) for word in words):
            return [int(word) for word in words]
        return text

    def limits(self) -> dict[str, Any]:
        return {"minimum": self.low, "maximum": self.high}


@dataclass(frozen=True, slots=True)
class Name(Kind):
    """A short name; empty in the environment means the default, which the caller knows."""

    type = "string"

    def read(self, env: Env, name: str) -> str:
        return env.text(name)

    def spell(self, value: Any) -> str:
        text = _text(value)
        if len(text) > 128 or not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._@:-]*", text, re.ASCII):
            raise ValueError("must be a name of at most 128 letters, digits, dots and dashes")
        return text


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError("must be a string")
    if not value.strip():
        raise ValueError("must not be empty: null goes back to the default")
    return value
