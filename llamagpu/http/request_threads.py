"""The threads in which synchronous code of requests runs: long-lived, with database connections kept.

Django gives every request under ASGI a thread and a connection of its own, which are thrown away with
it. To open a connection costs as much as all the statements of a short call, and with SQLite the last
one that closes even writes the whole log back.
"""

from __future__ import annotations

import functools
import io
from collections.abc import Awaitable, Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

from asgiref.sync import SyncToAsync, ThreadSensitiveContext, sync_to_async
from django.core.handlers.asgi import ASGIHandler
from django.core.signals import request_started
from django.db import close_old_connections, reset_queries
from django.http import HttpResponseBase

from llamagpu.http.database import keep_connections, release_connections

#: Busy views at the same moment. They compute under one lock and wait for the database and Redis
#: alone, so more of them would only wait for each other.
_BUSY_THREADS = 8
#: All others, some of which wait: for a model's end, for a mail server.
_OTHER_THREADS = 64


class _Pool(ThreadPoolExecutor):
    """Gives the connections back after each piece of work, or keeps them (`release_connections`)."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        return super().submit(_then_release, fn, *args, **kwargs)


def _then_release(fn: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    try:
        return fn(*args, **kwargs)
    finally:
        release_connections()


_busy = _Pool(_BUSY_THREADS, "view", initializer=keep_connections)
_others = _Pool(_OTHER_THREADS, "request", initializer=keep_connections)


class PortalHandler(ASGIHandler):
    """Django's handler, whose requests share threads instead of having one each."""

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            raise ValueError(f"this handles HTTP, not {scope['type']}")
        async with ThreadSensitiveContext(executor=_others):
            await self.handle(scope, receive, send)

    def create_request(self, scope: Any, body_file: Any) -> Any:
        """As Django's; a chunked body, which is here as a whole, has a length from here on.

        Without one it would be taken for empty, and the limit on bodies would not see it.
        """
        if all(name != b"content-length" for name, _ in scope["headers"]):
            size = body_file.seek(0, io.SEEK_END)
            body_file.seek(0)
            if size:
                length = (b"content-length", b"%d" % size)
                scope = {**scope, "headers": [*scope["headers"], length]}
        return super().create_request(scope, body_file)


def portal_application() -> PortalHandler:
    """The ASGI application of Django, which must be set up."""
    # They would cost each request a thread's turn, only to look at connections that every turn's end
    # has looked at.
    request_started.disconnect(close_old_connections)
    request_started.disconnect(reset_queries)
    return PortalHandler()


def in_busy_threads(
    view: Callable[..., HttpResponseBase],
) -> Callable[..., Awaitable[HttpResponseBase]]:
    """The view as a coroutine function that runs it in one of the few threads of busy views.

    Where no ASGI server calls (Django's test client), it runs in the caller's own thread and transaction.
    """
    in_pool = sync_to_async(view, thread_sensitive=False, executor=_busy)
    in_callers_thread = sync_to_async(view, thread_sensitive=True)

    @functools.wraps(view)
    async def serve(*args: Any, **kwargs: Any) -> HttpResponseBase:
        is_asgi = SyncToAsync.thread_sensitive_context.get(None) is not None
        return await (in_pool if is_asgi else in_callers_thread)(*args, **kwargs)

    return serve


def in_busy_thread(function: Callable[..., Any]) -> Callable[..., Awaitable[Any]]:
    """The function as a coroutine function that runs it in one of the threads of busy views."""
    return sync_to_async(function, thread_sensitive=False, executor=_busy)


def in_request_thread(function: Callable[..., Any]) -> Callable[..., Awaitable[Any]]:
    """The function as a coroutine function that runs it in one of the threads of requests."""
    return sync_to_async(function, thread_sensitive=False, executor=_others)
