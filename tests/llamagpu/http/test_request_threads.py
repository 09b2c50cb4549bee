"""Requests of the real ASGI handler, in threads that live on."""

from __future__ import annotations

import threading
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from asgiref.testing import ApplicationCommunicator
from django.db import connection, connections
from django.http import HttpRequest, HttpResponse
from django.urls import path

from llamagpu.http.database import keep_connections, release_connections
from llamagpu.http.request_threads import PortalHandler, in_busy_threads

_seen: list[tuple[str, int]] = []


def _note() -> None:
    connection.ensure_connection()
    _seen.append((threading.current_thread().name, id(connection.connection)))


def busy(request: HttpRequest) -> HttpResponse:
    _note()
    return HttpResponse("busy")


def plain(request: HttpRequest) -> HttpResponse:
    _note()
    return HttpResponse("plain")


urlpatterns = [path("busy", in_busy_threads(busy)), path("plain", plain)]


async def _get(address: str) -> bytes:
    scope: dict[str, Any] = {
        "type": "http", "method": "GET", "path": address, "query_string": b"",
        "headers": [(b"host", b"localhost")], "http_version": "1.1",
    }  # fmt: skip
    caller = ApplicationCommunicator(PortalHandler(), scope)
    await caller.send_input({"type": "http.request", "body": b""})
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
    for _ in range(3):
        assert await _get(address) == address[1:].encode()
    assert len({name for name, _ in _seen}) == 1
    if connection.vendor == "sqlite":
        assert len({identity for _, identity in _seen}) == 1
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
