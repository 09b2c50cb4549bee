"""Kombu's channels, each with one client."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from typing import Any

import pytest
from kombu import Connection

from llamagpu.broker import Channel
from llamagpu.celery import app


@pytest.fixture
def connection(redis_client: Any) -> Iterator[Connection]:
    with app.connection_for_write() as connection:
        yield connection


def test_celery_sends_through_them(connection: Connection) -> None:
    assert isinstance(connection.default_channel, Channel)


def test_no_list_is_kept_of_messages_under_way(connection: Connection, redis_client: Any) -> None:
    queue = connection.SimpleQueue(f"test-{secrets.token_hex(4)}")
    queue.put({"number": 1})
    message = queue.get(timeout=10)
    assert message.payload == {"number": 1}
    assert not redis_client.keys("lg:unacked*")
    message.ack()
    queue.close()


def test_a_worker_that_leaves_gives_back_what_it_has_not_begun(
    connection: Connection, redis_client: Any
) -> None:
    name = f"test-{secrets.token_hex(4)}"
    with app.connection_for_write() as leaving:
        queue = leaving.SimpleQueue(name)
        queue.put({"number": 1})
        queue.get(timeout=10)
    assert connection.SimpleQueue(name).get(timeout=10).payload == {"number": 1}


def test_a_channel_makes_one_client_for_commands_and_another_after_a_cut(
    connection: Connection,
) -> None:
    channel: Any = connection.default_channel
    first = channel._create_client()
    assert channel._create_client() is first
    assert channel._create_client(asynchronous=True) is not first
    channel._disconnect_pools()
    second = channel._create_client()
    assert second is not first
    assert second.ping()
