"""Lines on the shared terminal."""

from __future__ import annotations

import io
import os

import pytest

from llamagpu.supervisor.console import Console


class GoneTerminal(io.StringIO):
    def write(self, text: str) -> int:
        raise BrokenPipeError


class FakeTerminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def follow(console: Console, data: bytes) -> None:
    reader, writer = os.pipe()
    thread = console.follow("web", os.fdopen(reader, "rb"))
    with os.fdopen(writer, "wb") as pipe:
        pipe.write(data)
    thread.join(30)
    assert not thread.is_alive()


def test_each_line_carries_its_speaker(screen: io.StringIO) -> None:
    follow(Console(screen), b"one\ntwo\nlast without an end")
    assert screen.getvalue() == "web     | one\nweb     | two\nweb     | last without an end\n"


def test_a_child_cannot_steer_the_terminal(screen: io.StringIO) -> None:
    follow(Console(screen), b"a\x1b]0;title\x07\rb\ttab \xff\n")
    assert screen.getvalue() == "web     | a\\x1b]0;title\\x07\\x0db\ttab \ufffd\n"


def test_only_a_terminal_gets_colour(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    terminal = FakeTerminal()
    Console(terminal).line("web", "text")
    assert "\x1b[32m" in terminal.getvalue()
    monkeypatch.setenv("NO_COLOR", "1")
    plain = FakeTerminal()
    Console(plain).line("web", "text")
    assert plain.getvalue() == "web     | text\n"


def test_a_terminal_that_is_gone_does_not_stop_the_child() -> None:
    follow(Console(GoneTerminal()), b"line\n" * 100_000)
