"""Static files: compressed for who takes it, whole, the same for everybody else."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import pytest
from django.contrib.staticfiles import finders
from django.test import Client

STYLES = "/static/vendor/bootstrap/bootstrap.min.css"
FONT = "/static/vendor/bootstrap-icons/fonts/bootstrap-icons.woff2"


def source(address: str) -> bytes:
    path = finders.find(address.removeprefix("/static/"))
    assert isinstance(path, str)
    return Path(path).read_bytes()


def get(address: str, **headers: str) -> Any:
    return Client().get(address, headers=headers)


def body(response: Any) -> bytes:
    return b"".join(response)


def test_text_is_a_third_as_long_for_who_takes_gzip() -> None:
    response = get(STYLES, accept_encoding="gzip, deflate, br")
    assert response.headers["Content-Encoding"] == "gzip"
    assert response.headers["Vary"] == "Accept-Encoding"
    assert response.headers["Content-Type"] == 'text/css; charset="utf-8"'
    assert int(response.headers["Content-Length"]) == len(response.content)
    assert gzip.decompress(response.content) == source(STYLES)
    assert len(response.content) < len(source(STYLES)) / 3


@pytest.mark.parametrize("accepted", ["", "br", "gzip;q=0, br"])
def test_who_takes_no_gzip_gets_the_file_as_it_is(accepted: str) -> None:
    get(STYLES, accept_encoding="gzip")
    response = get(STYLES, accept_encoding=accepted)
    assert "Content-Encoding" not in response.headers
    assert body(response) == source(STYLES)


def test_a_font_is_compressed_already() -> None:
    response = get(FONT, accept_encoding="gzip")
    assert "Content-Encoding" not in response.headers
    assert body(response) == source(FONT)


@pytest.mark.parametrize("accepted", ["gzip", "identity"])
def test_who_has_the_file_is_not_sent_it_again(accepted: str) -> None:
    first = get(STYLES, accept_encoding=accepted)
    again = get(STYLES, accept_encoding=accepted, if_none_match=first.headers["ETag"])
    assert again.status_code == 304
    assert body(again) == b""
    assert again.headers["ETag"] == first.headers["ETag"]
    assert "Content-Encoding" not in again.headers


def test_the_compressed_file_has_a_tag_of_its_own() -> None:
    compressed = get(STYLES, accept_encoding="gzip").headers["ETag"]
    assert get(STYLES, accept_encoding="identity", if_none_match=compressed).status_code == 200


def test_a_part_of_a_file_is_a_part_of_the_file_itself() -> None:
    response = get(STYLES, accept_encoding="gzip", range="bytes=10-19")
    assert response.status_code == 206
    assert body(response) == source(STYLES)[10:20]


def test_a_file_that_is_not_there_is_not_found() -> None:
    assert get("/static/vendor/none.css", accept_encoding="gzip").status_code == 404


def test_the_head_of_a_file_tells_its_length() -> None:
    response = Client().head(STYLES, headers={"accept-encoding": "gzip"})
    assert int(response.headers["Content-Length"]) == len(source(STYLES))
