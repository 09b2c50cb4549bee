"""What can keep the stack from starting, and how a stop travels through the start."""

from __future__ import annotations


class StartError(Exception):
    """The stack cannot start. The text is for a person: what is wrong and how to mend it."""


class StopRequested(BaseException):
    """Someone asked for a stop (SIGINT, SIGTERM, SIGHUP) while the main thread was busy.

    A BaseException like KeyboardInterrupt: nothing on the way swallows it by accident.
    """
