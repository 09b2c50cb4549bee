"""The real web server against bodies and heads that are too large; it lives on after each."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import httpx
import psutil
import pytest

from tests.environment import PROJECT_ROOT

HOST = b"Host: 127.0.0.1\r\n"
MEBIBYTE = 1 << 20


@pytest.fixture(scope="module")
def port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """Its bodies may have the least possible limit, one mebibyte."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        number = int(probe.getsockname()[1])
    environment = os.environ | {
        "LLAMA_DATA_DIR": str(tmp_path_factory.mktemp("data")),
        "LLAMA_MAX_INPUT_CHARS": "1000",
    }
    command = [sys.executable, "-m", "llamagpu.web_server", "--bind", "127.0.0.1"]
    process = subprocess.Popen(
        [
            *command,
            "--port",
            str(number),
            "--verbosity",
            "0",
            "--no-server-name",
            "llamagpu.asgi:application",
        ],
        cwd=PROJECT_ROOT,
        env=environment,
    )
    try:
        deadline = time.monotonic() + 60
        while not lives(number):
            assert time.monotonic() < deadline
            assert process.poll() is None
            time.sleep(0.1)
        yield number
        assert process.poll() is None
    finally:
        process.terminate()
        process.wait(20)


def lives(port: int) -> bool:
    with suppress(httpx.HTTPError):
        return httpx.get(f"http://127.0.0.1:{port}/livez").status_code == 200
    return False


def say(port: int, *pieces: bytes) -> bytes:
    """Everything that the server answers to `pieces` until it closes."""
    with socket.create_connection(("127.0.0.1", port), timeout=20) as connection:
        with suppress(ConnectionError):
            for piece in pieces:
                connection.sendall(piece)
        answer = b""
        with suppress(ConnectionError):
            while block := connection.recv(65536):
                answer += block
                if is_complete(answer):
                    break
        return answer


def is_complete(answer: bytes) -> bool:
    head, end, body = answer.partition(b"\r\n\r\n")
    for line in head.split(b"\r\n"):
        name, _, value = line.partition(b":")
        if name.lower() == b"content-length":
            return bool(end) and len(body) >= int(value)
    return False


def refusal(answer: bytes) -> tuple[int, str]:
    head, _, body = answer.partition(b"\r\n\r\n")
    envelope = json.loads(body)
    assert envelope["success"] is False
    assert f"X-Request-ID: {envelope['request_id']}".encode() in head
    return int(head.split()[1]), envelope["error"]["code"]


def post(*headers: bytes) -> bytes:
    return b"POST /api/infer HTTP/1.1\r\n" + HOST + b"".join(headers) + b"\r\n"


def test_a_declared_body_that_is_too_large_is_refused_before_it_comes(port: int) -> None:
    answer = say(port, post(b"Content-Length: 99999999999\r\n"))
    assert refusal(answer) == (413, "CONTENT_TOO_LARGE")
    assert lives(port)


def test_clients_of_openai_are_refused_in_their_own_form(port: int) -> None:
    head = b"POST /v1/embeddings HTTP/1.1\r\n" + HOST + b"Content-Length: 99999999999\r\n\r\n"
    start, _, body = say(port, head).partition(b"\r\n\r\n")
    assert int(start.split()[1]) == 413
    error = json.loads(body)["error"]
    assert (error["type"], error["code"]) == ("invalid_request_error", "content_too_large")


def test_one_that_waits_for_leave_gets_none(port: int) -> None:
    head = post(b"Content-Length: 99999999\r\n", b"Expect: 100-continue\r\n")
    answer = say(port, head)
    assert refusal(answer) == (413, "CONTENT_TOO_LARGE")
    assert b"100 Continue" not in answer


def test_a_chunked_body_that_never_ends_is_refused_while_it_comes(port: int) -> None:
    chunk = b"10000\r\n" + b"x" * 0x10000 + b"\r\n"
    answer = say(port, post(b"Transfer-Encoding: chunked\r\n"), *[chunk] * 400)
    assert refusal(answer) == (413, "CONTENT_TOO_LARGE")
    assert lives(port)


def test_a_client_that_sends_all_of_it_first_reads_the_answer(port: int) -> None:
    response = httpx.post(
        f"http://127.0.0.1:{port}/api/infer", content=b"x" * (3 * MEBIBYTE), timeout=20
    )
    assert response.status_code == 413
    assert response.json()["error"]["code"] == "CONTENT_TOO_LARGE"


def test_a_body_within_the_limit_reaches_the_application(port: int) -> None:
    def pieces() -> Iterator[bytes]:
        for _ in range(9):
            yield b"x" * 100_000

    response = httpx.post(f"http://127.0.0.1:{port}/api/infer", content=pieces(), timeout=20)
    assert response.status_code in (401, 503)


def test_a_header_of_a_mebibyte_is_answered(port: int) -> None:
    answer = say(port, post(b"X-Long: " + b"a" * MEBIBYTE + b"\r\n"))
    assert refusal(answer) == (431, "INVALID_INPUT")
    assert lives(port)


@pytest.mark.parametrize(
    "headers",
    [
        [b"X-%d: a\r\n" % number for number in range(10_000)],
        [b"X-Many: a\r\n"] * 10_000,
        [b"X-%d: %s\r\n" % (number, b"a" * 10_000) for number in range(100)],
    ],
    ids=["ten thousand names", "ten thousand of one name", "a megabyte in a hundred"],
)
def test_too_many_headers_are_answered(port: int, headers: list[bytes]) -> None:
    assert refusal(say(port, post(*headers))) == (400, "INVALID_INPUT")
    assert lives(port)


@pytest.mark.parametrize(
    "request_text",
    [
        b"GET / HTTP/1.1\r\nno colon here\r\n\r\n",
        b"nonsense\r\n\r\n",
        post(b"Content-Length: 5\r\n", b"Content-Length: 6\r\n"),
        post(b"Content-Length: 5\r\n", b"Transfer-Encoding: chunked\r\n"),
        post(b"Content-Length: -1\r\n"),
        post(b"Transfer-Encoding: gzip\r\n"),
        post(b"Transfer-Encoding: chunked\r\n") + b"nonsense\r\n",
        b"GET /" + b"a" * 40_000 + b" HTTP/1.1\r\n\r\n",
    ],
)
def test_a_malformed_request_is_answered(port: int, request_text: bytes) -> None:
    status, code = refusal(say(port, request_text))
    assert status in (400, 431)
    assert code == "INVALID_INPUT"
    assert lives(port)


def test_a_host_that_is_not_ours_gets_the_envelope(port: int) -> None:
    url = f"http://127.0.0.1:{port}"
    response = httpx.get(f"{url}/api/system/status", headers={"Host": "evil.example"})
    assert response.status_code == 400
    assert response.json()["error"]["code"] == "INVALID_INPUT"
    page = httpx.get(f"{url}/", headers={"Host": "evil.example", "Accept": "text/html"})
    assert page.status_code == 400


def test_hostile_header_values_break_nothing(port: int) -> None:
    for name, value in (
        (b"Authorization", b"Bearer \xff\xfe"),
        (b"X-Forwarded-For", b"\xff" * 100),
        (b"Cookie", b"sessionid=\xff; =; ;;"),
        (b"Accept", b"*" * 5000),
        (b"Content-Type", b"application/json; charset=\xff"),
    ):
        answer = say(port, post(name + b": " + value + b"\r\n", b"Content-Length: 2\r\n") + b"{}")
        assert int(answer.split()[1]) in (400, 401, 406, 415, 503), answer
    assert lives(port)


def test_the_server_does_not_name_itself(port: int) -> None:
    response = httpx.get(f"http://127.0.0.1:{port}/livez")
    assert "daphne" not in response.headers.get("server", "").lower()


def test_a_file_is_never_in_memory_as_a_whole(port: int) -> None:
    def form(mebibytes: int) -> Iterator[bytes]:
        yield b'--b\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n'
        for _ in range(mebibytes):
            yield bytes(MEBIBYTE)
        yield b"\r\n--b--\r\n"

    def send(mebibytes: int) -> int:
        headers = {"Content-Type": "multipart/form-data; boundary=b"}
        url = f"http://127.0.0.1:{port}/v1/files"
        return httpx.post(url, content=form(mebibytes), headers=headers, timeout=60).status_code

    assert send(1) == 401
    before = peak_memory(port)
    assert send(80) == 401
    assert peak_memory(port) - before < 40 * MEBIBYTE


def peak_memory(port: int) -> int:
    """Bytes that the server has held at most."""
    (server,) = (child for child in psutil.Process().children() if str(port) in child.cmdline())
    status = Path(f"/proc/{server.pid}/status").read_text(encoding="ascii")
    (line,) = (line for line in status.splitlines() if line.startswith("VmHWM:"))
    return int(line.split()[1]) * 1024
