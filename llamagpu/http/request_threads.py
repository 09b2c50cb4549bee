"""The threads in which synchronous code of requests runs: long-lived, with database connections kept.

Django gives every request under ASGI a thread and a connection of its own, which are thrown away with
it. To open a connection costs as much as all the statements of a short call, and with SQLite the last
one that closes even writes the whole log back.
"""

from __future__ import annotations

import asyncio
import functools
import io
from collections.abc import Awaitable, Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from typing import Any

from asgiref.sync import SyncToAsync, ThreadSensitiveContext, sync_to_async
from django.core.exceptions import RequestAborted
from django.core.handlers.asgi import ASGIHandler, get_script_prefix
from django.core.signals import request_finished, request_started
from django.db import close_old_connections, reset_queries
from django.http import HttpResponseBase
from django.urls import set_script_prefix

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

    async def handle(self, scope: Any, receive: Any, send: Any) -> None:
        """As Django's, but an answer in one piece is closed here, where Django's takes a thread's turn
        (docs/performance.md says what that costs)."""
        try:
            body_file = await self.read_body(receive)
        except RequestAborted:
            return
        set_script_prefix(get_script_prefix(scope))
        await request_started.asend(sender=self.__class__, scope=scope)
        request, refusal = self.create_request(scope, body_file)
        if request is None:
            body_file.close()
            await self.send_response(refusal, send)
            await _close(refusal)
            return
        try:
            response = await self._serve(request, receive, send)
            if response is None:
                await request_finished.asend(sender=self.__class__)
            else:
                await _close(response)
        finally:
            body_file.close()

    async def _serve(self, request: Any, receive: Any, send: Any) -> HttpResponseBase | None:
        """The answer, sent; None where the caller hung up before there was one."""

        async def answer() -> HttpResponseBase:
            response: HttpResponseBase = await self.run_get_response(request)
            with suppress(asyncio.CancelledError):  # the caller hung up while it was sent
                await self.send_response(response, send)
            return response

        # The first one first: it fails as foreseen, and then the other one must not go on.
        tasks = [
            asyncio.create_task(self.listen_for_disconnect(receive)),
            asyncio.create_task(answer()),
        ]
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in tasks:
            if task.done():
                with suppress(RequestAborted):
                    task.result()
            else:
                task.cancel()  # a view may have something to do about it
                with suppress(asyncio.CancelledError):
                    await task
        try:
            return tasks[1].result()
        except asyncio.CancelledError:
            return None

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


async def _close(response: HttpResponseBase) -> None:
    """What a stream has open may take its time; everything else only forgets."""
    if response.streaming:
        await sync_to_async(response.close)()
    else:
        response.close()


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
