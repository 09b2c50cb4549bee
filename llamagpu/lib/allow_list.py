"""Which machines this installation may call: names, names with a port, addresses and networks."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable
from dataclasses import dataclass

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

_NAME = re.compile(r"(?=.{1,253}\Z)[a-z0-9_]([a-z0-9_-]{0,62})(\.[a-z0-9_]([a-z0-9_-]{0,62}))*")
# Where clouds hand out credentials, beside the link-local addresses.
_METADATA = frozenset(
    ipaddress.ip_address(text)
    for text in ("100.100.100.200", "168.63.129.16", "192.0.0.192", "fd00:ec2::254")
)
_NAT64 = ipaddress.ip_network("64:ff9b::/96")


@dataclass(frozen=True, slots=True)
class Rule:
    """Either a name or a network; `port` None stands for every port."""

    host: str = ""
    network: Network | None = None
    port: int | None = None

    def fits_port(self, port: int) -> bool:
        return self.port is None or self.port == port


@dataclass(frozen=True, slots=True)
class AllowList:
    """Empty: nothing may be called."""

    rules: tuple[Rule, ...] = ()

    @classmethod
    def parse(cls, words: Iterable[str]) -> AllowList:
        """From `host`, `host:port`, an address or a network like `10.0.0.0/8`. Raises ValueError."""
        return cls(tuple(_rule(word.strip().lower()) for word in words if word.strip()))

    def names(self, host: str, port: int) -> bool:
        """Whether `host` is listed by its name."""
        return any(rule.host == host and rule.fits_port(port) for rule in self.rules if rule.host)

    def permits(self, host: str, port: int, address: Address) -> bool:
        """Whether `host`, found at `address`, may be called at `port`.

        A listed network opens every address in it. A listed name opens what it leads to, but never
        this machine (unless the name is `localhost`) nor addresses where credentials lie: a name
        may be led anywhere by whoever runs its domain.
        """
        address = effective(address)
        if any(
            rule.network is not None and address in rule.network and rule.fits_port(port)
            for rule in self.rules
        ):
            return True
        if not self.names(host, port) or is_dangerous(address):
            return False
        return not address.is_loopback or host == "localhost"


def effective(address: Address) -> Address:
    """The IPv4 address that an IPv6 address carries, where it carries one."""
    if isinstance(address, ipaddress.IPv4Address):
        return address
    if address in _NAT64:
        return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    return address.ipv4_mapped or address.sixtofour or address


def is_dangerous(address: Address) -> bool:
    """Link-local and metadata addresses, and those that are nobody's or everybody's."""
    return (
        address in _METADATA
        or address.is_link_local
        or address.is_multicast
        or address.is_unspecified
        or address.is_reserved
    )


def is_host_name(text: str) -> bool:
    """Letters, digits, dots and hyphens; what a resolver would read as a number is none."""
    last = text.rpartition(".")[2]
    return bool(_NAME.fullmatch(text)) and not re.fullmatch(r"\d+|0x[0-9a-f]*", last)


def _rule(word: str) -> Rule:
    try:
        return Rule(network=ipaddress.ip_network(word.strip("[]")))
    except ValueError:
        if "/" in word:
            raise ValueError(f"'{word}' is no network") from None
    host, port = _split_port(word)
    try:
        return Rule(network=ipaddress.ip_network(host.strip("[]")), port=port)
    except ValueError:
        pass
    if not is_host_name(host):
        raise ValueError(f"'{word}' is no host, host:port or network")
    return Rule(host=host, port=port)


def _split_port(word: str) -> tuple[str, int | None]:
    host, colon, port = word.rpartition(":")
    if not colon:
        return word, None
    if not (port.isascii() and port.isdigit() and 0 < int(port) < 65536):
        raise ValueError(f"'{word}': the port must be between 1 and 65535")
    return host, int(port)
