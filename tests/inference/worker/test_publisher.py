from __future__ import annotations

import subprocess
import time
from typing import Any

from inference.protocol import ErrorEvent, RestartEvent, TokenEvent
from inference.stream import KEEP_AFTER_END, JobKeys, published_tokens
from inference.worker.publisher import Entry, Publisher, merge_tokens
from llamagpu.lib.error_codes import ErrorCode
from llamagpu.lib.redis_client import sync_client
from llamagpu.supervisor.valkey import EmbeddedValkey, find_server
from tests.inference.worker.conftest import events_of, wait_until


def token(job: str, text: str, position: int = 0, attempt: int = 1) -> Entry:
    return Entry(job, attempt, TokenEvent(text, position), 60)


def wait_for_entries(client: Any, count: int) -> None:
    wait_until(lambda: client.xlen(JobKeys("j").events) == count, "the entry")


def test_tokens_that_follow_each_other_are_joined() -> None:
    merged = merge_tokens([token("a", "x", 0), token("b", "1", 0), token("a", "y", 1)])
    assert [(e.job_id, e.event.text, e.event.position) for e in merged] == [  # type: ignore[union-attr]
        ("a", "xy", 1),
        ("b", "1", 0),
    ]


def test_the_tokens_of_several_answers_are_joined_each_with_its_own() -> None:
    entries = [Entry("a", 1, TokenEvent(text, 0, index=index), 60) for text, index in
               [("x", 0), ("1", 1), ("y", 0), ("2", 1)]]  # fmt: skip
    merged = [entry.event for entry in merge_tokens(entries)]
    assert merged == [TokenEvent("xy", 0), TokenEvent("12", 0, index=1)]


def test_the_tokens_of_all_answers_of_the_newest_attempt_are_counted(redis_client: Any) -> None:
    publisher = Publisher(redis_client, lambda job_id, attempt: None)
    publisher.publish(token("j", "lost", 99))
    publisher.publish(Entry("j", 2, RestartEvent(2), 60))
    publisher.publish(token("j", "a", 4, attempt=2))
    publisher.publish(Entry("j", 2, TokenEvent("b", 6, index=1), 60))
    publisher.close(10)
    assert published_tokens(redis_client, "j") == 12
    assert published_tokens(redis_client, "unknown") == 0


def test_nothing_is_joined_across_a_restart() -> None:
    restart = Entry("a", 2, RestartEvent(2), 60)
    merged = merge_tokens([token("a", "x"), restart, token("a", "y", attempt=2)])
    assert [entry.event for entry in merged] == [
        TokenEvent("x", 0),
        RestartEvent(2),
        TokenEvent("y", 0),
    ]


def test_every_entry_of_a_stream_leaves_it_a_lifetime(redis_client: Any) -> None:
    publisher = Publisher(redis_client, lambda job_id, attempt: None)
    for position in range(40):
        publisher.publish(token("j", "x", position))
        wait_for_entries(redis_client, position + 1)
        assert 0 < redis_client.ttl(JobKeys("j").events) <= 60
    publisher.close(10)


def test_a_stream_that_redis_has_lost_soon_has_a_lifetime_again(redis_client: Any) -> None:
    publisher = Publisher(redis_client, lambda job_id, attempt: None)
    publisher.publish(token("j", "x"))
    wait_for_entries(redis_client, 1)
    redis_client.delete(JobKeys("j").events)
    for position in range(1, 40):
        publisher.publish(token("j", "x", position))
        wait_for_entries(redis_client, position)
    publisher.close(10)
    assert redis_client.ttl(JobKeys("j").events) > 0


def test_a_stream_expires_after_its_end(redis_client: Any) -> None:
    publisher = Publisher(redis_client, lambda job_id, attempt: None)
    publisher.publish(Entry("j", 1, ErrorEvent(ErrorCode.CANCELLED, "x"), 5000))
    publisher.close(10)
    assert 0 < redis_client.ttl(JobKeys("j").events) <= KEEP_AFTER_END
    assert redis_client.exists(JobKeys("j").ended)


def test_an_outdated_attempt_is_reported_and_a_current_one_is_not(redis_client: Any) -> None:
    fenced: list[tuple[str, int]] = []
    redis_client.xadd(JobKeys("old").events, {"e": b"x"}, id="2-1")
    publisher = Publisher(redis_client, lambda job_id, attempt: fenced.append((job_id, attempt)))
    publisher.publish(token("new", "a"))
    publisher.publish(token("old", "b"))
    publisher.close(10)
    assert fenced == [("old", 1)]
    assert [entry_id for entry_id, _ in events_of(redis_client, "new")] == ["1-1"]


def test_a_server_that_restarts_loses_no_token_and_repeats_none(tmp_path: Any) -> None:
    server = EmbeddedValkey(tmp_path, tmp_path / "s" / "v.sock", find_server())

    def start() -> subprocess.Popen[bytes]:
        server.prepare()
        process = subprocess.Popen(server.spec.command, stdout=subprocess.DEVNULL)
        wait_until(lambda: not server.obstacle(), "the server answers")
        return process

    process = start()
    client = sync_client(f"unix://{tmp_path / 's' / 'v.sock'}")
    publisher = Publisher(client, lambda job_id, attempt: None)
    publisher.publish(token("j", "a", 0))
    wait_until(lambda: client.xlen(JobKeys("j").events) == 1, "the first entry")
    process.terminate()
    process.wait()
    publisher.publish(token("j", "b", 1))
    time.sleep(0.2)  # so that a write fails, which is what the test is about
    publisher.publish(token("j", "c", 2))
    process = start()
    publisher.close(30)
    text = "".join(event.text for _, event in events_of(client, "j"))  # type: ignore[union-attr]
    ids = [entry_id for entry_id, _ in events_of(client, "j")]
    client.close()
    process.terminate()
    process.wait()
    assert text == "abc"
    assert ids == [f"1-{number}" for number in range(1, len(ids) + 1)]
