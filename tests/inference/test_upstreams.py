"""Addresses of upstreams, as people write them."""

from __future__ import annotations

import pytest

from inference.upstreams import AddressRefusedError, BaseUrl, check_allowed
from llamagpu.lib.allow_list import AllowList


@pytest.mark.parametrize(
    ("text", "read"),
    [
        ("https://Host.Example.org/v1/", "https://host.example.org/v1"),
        ("http://10.0.0.5:8000/v1", "http://10.0.0.5:8000/v1"),
        ("http://[::1]:80", "http://[::1]"),
        ("https://h:443/a/b", "https://h/a/b"),
    ],
)
def test_a_plain_url_is_read(text: str, read: str) -> None:
    assert BaseUrl.parse(text).text == read
    assert BaseUrl.parse(read).text == read


@pytest.mark.parametrize(
    "text",
    [
        "", "host", "ftp://h/v1", "file:///etc/passwd", "https://user:pw@h/v1", "https://h\\@evil/v1",
        "https://h/v1?x=1", "https://h/v1#x", "https://h/%2e%2e/v1", "https://h/../v1", "https://h//v1",
        "http://2130706433/v1", "http://0x7f.1/v1", "http://127.1/v1", "http://h:0/v1",
        "http://h:70000/v1", "https://h\n/v1", "https://h /v1", "https://\u212a.org/v1", "http://[::1",
        "http://[fe80::1%25eth0]/v1", "https://" + "h" * 600,
    ],
)  # fmt: skip
def test_what_two_parsers_could_read_in_two_ways_is_refused(text: str) -> None:
    with pytest.raises(AddressRefusedError):
        BaseUrl.parse(text)


@pytest.mark.parametrize(
    ("text", "words", "is_open"),
    [
        ("https://vllm/v1", "vllm", True),
        ("https://vllm/v1", "vllm:443", True),
        ("https://vllm:8443/v1", "vllm:443", False),
        ("https://vllm/v1", "", False),
        ("https://vllm/v1", "10.0.0.0/8", True),  # the connection decides
        ("http://10.0.0.5/v1", "10.0.0.0/8", True),
        ("http://169.254.169.254/v1", "10.0.0.0/8 vllm", False),
    ],
)
def test_the_list_decides(text: str, words: str, is_open: bool) -> None:
    url, allow = BaseUrl.parse(text), AllowList.parse(words.split())
    if is_open:
        check_allowed(url, allow)
    else:
        with pytest.raises(AddressRefusedError, match="LLAMA_UPSTREAM_ALLOW"):
            check_allowed(url, allow)
