"""What can keep the stack from starting, and how a stop travels through the start."""

from __future__ import annotations


class StartError(Exception):
    """The stack cannot start. The text is for a person: what is wrong and how to mend it."""


def brief(error: Exception) -> str:
    """The first line of a library's error, fit for the middle of a sentence of ours."""
    lines = str(error).splitlines() or [type(error).__name__]
    return lines[0].strip().rstrip(".?!")


class StopRequested(BaseException):
    """Someone asked for a stop (SIGINT, SIGTERM, SIGHUP) while the main thread was busy.

    A BaseException like KeyboardInterrupt: nothing on the way swallows it by accident.
    """
