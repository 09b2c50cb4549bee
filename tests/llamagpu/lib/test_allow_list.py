"""Which machines may be called."""

from __future__ import annotations

import ipaddress

import pytest

from llamagpu.lib.allow_list import AllowList, is_host_name


def permits(words: str, host: str, address: str, port: int = 8000) -> bool:
    return AllowList.parse(words.split()).permits(host, port, ipaddress.ip_address(address))


def test_an_empty_list_permits_nothing() -> None:
    assert not permits("", "vllm", "10.0.0.5")
    assert not permits("", "127.0.0.1", "127.0.0.1")


@pytest.mark.parametrize(
    ("words", "host", "address", "expected"),
    [
        ("vllm.example.org", "vllm.example.org", "203.0.113.5", True),
        ("VLLM.example.org", "vllm.example.org", "10.0.0.5", True),
        ("vllm.example.org", "evil.vllm.example.org", "203.0.113.5", False),
        ("vllm:8000", "vllm", "10.0.0.5", True),
        ("vllm:8001", "vllm", "10.0.0.5", False),
        ("10.0.0.0/8", "10.1.2.3", "10.1.2.3", True),
        ("10.0.0.0/8", "any.name", "10.1.2.3", True),
        ("10.0.0.0/8", "11.1.2.3", "11.1.2.3", False),
        ("10.0.0.5", "10.0.0.5", "10.0.0.5", True),
        ("10.0.0.5:8000", "10.0.0.5", "10.0.0.5", True),
        ("10.0.0.5:8001", "10.0.0.5", "10.0.0.5", False),
        ("[::1]:8000", "::1", "::1", True),
        ("::1", "::1", "::1", True),
        ("10.0.0.0/8", "x", "::ffff:10.0.0.1", True),
    ],
)
def test_names_ports_and_networks(words: str, host: str, address: str, expected: bool) -> None:
    assert permits(words, host, address) is expected


@pytest.mark.parametrize(
    "address",
    [
        "169.254.169.254",
        "fe80::1",
        "fd00:ec2::254",
        "100.100.100.200",
        "168.63.129.16",
        "0.0.0.0",  # noqa: S104
        "224.0.0.1",
        "::ffff:169.254.169.254",
        "64:ff9b::a9fe:a9fe",
        "2002:a9fe:a9fe::",
        "127.0.0.1",
        "::1",
    ],
)
def test_a_listed_name_never_leads_to_where_credentials_lie_nor_to_this_machine(
    address: str,
) -> None:
    assert not permits("vllm.example.org", "vllm.example.org", address)


def test_the_name_of_this_machine_is_meant_where_it_is_listed() -> None:
    assert permits("localhost:8000", "localhost", "127.0.0.1")
    assert not permits("localhost:8000", "localhost", "169.254.169.254")


def test_dangerous_networks_are_opened_by_their_own_name_alone() -> None:
    assert permits("169.254.0.0/16", "169.254.1.1", "169.254.1.1")
    assert not permits("0.0.0.0/1", "169.254.169.254", "169.254.169.254")


@pytest.mark.parametrize("word", ["10.0.0.0/33", "a b/8", "host:0", "host:99999", "http://h", "*"])
def test_what_is_no_rule_is_refused_and_named(word: str) -> None:
    with pytest.raises(ValueError, match=r"'"):
        AllowList.parse([word])


@pytest.mark.parametrize(
    "text", ["2130706433", "0x7f000001", "127.1", "0177.0.0.1", "a..b", "-a", ""]
)
def test_numbers_in_disguise_are_no_host_names(text: str) -> None:
    assert not is_host_name(text)
