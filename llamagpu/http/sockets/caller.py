"""What a socket needs to know of its caller. `accounts.sockets` finds out who it is."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from contextlib import AbstractContextManager
from typing import Any, Protocol

from llamagpu.http.errors import AppError
from llamagpu.http.permissions import LimitGroup, Rule

Scope = Mapping[str, Any]


class SocketCaller(Protocol):
    """An authenticated caller with what it may do, as it was when it was last looked at.

    `key` is None for a browser's session, `peer` an IP address or empty.
    """

    @property
    def user(self) -> Any: ...

    @property
    def key(self) -> Any: ...

    @property
    def peer(self) -> str: ...

    def allows(self, rule: Rule) -> bool:
        """Whether the caller may pass `rule`."""
        ...

    def watch(self, rule: Rule, on_lost: Callable[[AppError], None]) -> AbstractContextManager[Any]:
        """Calls `on_lost` on the event loop, at most once, when the right is gone; within five seconds."""
        ...

    def take_place(self) -> AbstractContextManager[Any]:
        """One of the sockets that this caller may have. Raises AppError RATE_LIMIT_EXCEEDED."""
        ...

    def look_again(self) -> SocketCaller:
        """The same caller as the database knows it now; not for the event loop.

        Raises AppError AUTHENTICATION_FAILED and PERMISSION_DENIED where it may not call any more.
        """
        ...

    async def fresh(self) -> SocketCaller:
        """The same, on the event loop."""
        ...

    async def count(self, group: LimitGroup) -> None:
        """Counts one call. Raises AppError RATE_LIMIT_EXCEEDED and BACKEND_UNAVAILABLE."""
        ...


#: Finds the caller of a scope; the second argument is a key that came in another way than in a header.
#: Raises AppError.
Authenticate = Callable[[Scope, str | None], Awaitable[SocketCaller]]
