"""Requests of the real ASGI handler, in threads that live on."""

from __future__ import annotations

import asyncio
import io
import threading
from collections.abc import AsyncIterator
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from asgiref.testing import ApplicationCommunicator
from django.core.exceptions import RequestDataTooBig
from django.core.signals import request_finished
from django.db import connection, connections
from django.http import HttpRequest, HttpResponse, StreamingHttpResponse
from django.urls import path
from rest_framework.request import Request

from llamagpu.http.database import keep_connections, release_connections
from llamagpu.http.parsers import StrictJSONParser
from llamagpu.http.request_threads import PortalHandler, in_busy_threads

_seen: list[tuple[str, int]] = []
_events: list[str] = []


def _note() -> None:
    connection.ensure_connection()
    _seen.append((threading.current_thread().name, id(connection.connection)))


def busy(request: HttpRequest) -> HttpResponse:
    _note()
    return HttpResponse("busy")


def plain(request: HttpRequest) -> HttpResponse:
    _note()
    return HttpResponse("plain")


async def endless(request: HttpRequest) -> HttpResponse:
    _events.append("begun")
    try:
        await asyncio.Event().wait()
    except asyncio.CancelledError:
        _events.append("cancelled")
        raise
    return HttpResponse("never")


class _Closing(HttpResponse):
    def close(self) -> None:
        super().close()
        _events.append(threading.current_thread().name)


class _ClosingStream(StreamingHttpResponse):
    def close(self) -> None:
        super().close()
        _events.append(threading.current_thread().name)


def whole(request: HttpRequest) -> HttpResponse:
    return _Closing("whole")


async def streamed(request: HttpRequest) -> StreamingHttpResponse:
    async def parts() -> AsyncIterator[bytes]:
        yield b"streamed"

    return _ClosingStream(parts())


urlpatterns = [
    path("busy", in_busy_threads(busy)),
    path("plain", plain),
    path("endless", endless),
    path("whole", whole),
    path("streamed", streamed),
]


async def _call(address: str) -> ApplicationCommunicator:
    scope: dict[str, Any] = {
        "type": "http", "method": "GET", "path": address, "query_string": b"",
        "headers": [(b"host", b"localhost")], "http_version": "1.1",
    }  # fmt: skip
    caller = ApplicationCommunicator(PortalHandler(), scope)
    await caller.send_input({"type": "http.request", "body": b""})
    return caller


async def _get(address: str) -> bytes:
    caller = await _call(address)
    head = await caller.receive_output(10)
    assert head["status"] == 200
    body: bytes = (await caller.receive_output(10))["body"]
    await caller.wait(10)
    return body


@pytest.mark.urls(__name__)
@pytest.mark.parametrize("address", ["/busy", "/plain"])
@pytest.mark.django_db(transaction=True, serialized_rollback=True)
async def test_requests_share_a_thread_and_its_connection(address: str) -> None:
    _seen.clear()
    for _ in range(12):
        assert await _get(address) == address[1:].encode()
    # On a busy machine one may begin before the thread of the one before is free again.
    threads = {name for name, _ in _seen}
    assert len(threads) < len(_seen)
    if connection.vendor == "sqlite":
        assert len({identity for _, identity in _seen}) == len(threads)
    await sync_to_async(connections.close_all)()


@pytest.mark.django_db(transaction=True, serialized_rollback=True)
def test_a_connection_that_met_an_error_is_not_kept() -> None:
    if connection.vendor != "sqlite":
        pytest.skip("only SQLite's are kept")
    found = []

    def live() -> None:
        keep_connections()
        connection.ensure_connection()
        release_connections()
        found.append(connection.connection is not None)
        connection.errors_occurred = True
        release_connections()
        found.append(connection.connection is None)

    thread = threading.Thread(target=live)
    thread.start()
    thread.join()
    assert found == [True, True]


def _request(body: bytes, *headers: tuple[bytes, bytes]) -> Request:
    scope = {
        "type": "http",
        "method": "POST",
        "path": "/",
        "query_string": b"",
        "headers": [(b"content-type", b"application/json"), *headers],
    }
    request, refusal = PortalHandler().create_request(scope, io.BytesIO(body))
    assert refusal is None
    return Request(request, parsers=[StrictJSONParser()])


def test_a_chunked_body_is_read_as_any_other() -> None:
    body = b'{"text": "hi"}'
    assert _request(body).data == {"text": "hi"}
    assert _request(body, (b"content-length", b"14")).data == {"text": "hi"}
    assert _request(b"").data == {}


def test_a_chunked_body_is_held_to_the_limit(settings: Any) -> None:
    settings.DATA_UPLOAD_MAX_MEMORY_SIZE = 10
    with pytest.raises(RequestDataTooBig):
        _ = _request(b'{"text": "hi"}').data


@pytest.mark.urls(__name__)
@pytest.mark.django_db(transaction=True, serialized_rollback=True)
async def test_an_answer_in_one_piece_is_closed_without_a_thread_and_a_stream_in_one() -> None:
    _events.clear()
    assert await _get("/whole") == b"whole"
    assert _events == [threading.current_thread().name]
    _events.clear()
    assert await _get("/streamed") == b"streamed"
    assert len(_events) == 1
    assert _events[0] != threading.current_thread().name


@pytest.mark.urls(__name__)
@pytest.mark.django_db(transaction=True, serialized_rollback=True)
async def test_the_end_of_every_request_is_told(settings: Any) -> None:
    ends: list[object] = []

    def note(sender: object, **kwargs: Any) -> None:
        ends.append(sender)

    request_finished.connect(note)
    try:
        await _get("/whole")
        await _get("/streamed")
        caller = await _call("/endless")
        await caller.send_input({"type": "http.disconnect"})
        await caller.wait(10)
    finally:
        request_finished.disconnect(note)
    assert ends == [PortalHandler] * 3


@pytest.mark.urls(__name__)
@pytest.mark.django_db(transaction=True, serialized_rollback=True)
async def test_a_view_hears_that_its_caller_hung_up() -> None:
    _events.clear()
    caller = await _call("/endless")
    for _ in range(1000):
        if _events:
            break
        await asyncio.sleep(0.01)
    await caller.send_input({"type": "http.disconnect"})
    await caller.wait(10)
    assert _events == ["begun", "cancelled"]


async def test_a_caller_who_leaves_before_the_body_is_there_is_forgotten() -> None:
    scope = {"type": "http", "method": "POST", "path": "/whole", "headers": []}
    caller = ApplicationCommunicator(PortalHandler(), scope)
    await caller.send_input({"type": "http.disconnect"})
    await caller.wait(10)
    assert await caller.receive_nothing()
