"""What an API key looks like: `lg_<8 character prefix>_<43 character secret>`.

The prefix finds the row, the secret proves the right to it. The secret's last six characters are a
CRC-32 of the rest, so that secret scanners recognise a leaked key without asking the server.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
import string
import zlib
from collections.abc import Iterable
from dataclasses import dataclass

MARK = "lg"
PREFIX_LENGTH = 8
SECRET_LENGTH = 43
_CHECKSUM_LENGTH = 6
_ALPHABET = string.digits + string.ascii_uppercase + string.ascii_lowercase
# `key` is not among them: a list may be filtered by the prefix of a key, which is no secret.
_PARAMETERS = {"api_key", "apikey", "access_token", "token"}
_BEARER = re.compile(r"bearer(?:\s+(.*))?", re.IGNORECASE | re.DOTALL)
_PATTERN = re.compile(rf"{MARK}_([0-9A-Za-z]{{{PREFIX_LENGTH}}})_([0-9A-Za-z]{{{SECRET_LENGTH}}})")


@dataclass(frozen=True, slots=True)
class KeyText:
    """A key in plain text, taken apart. It lives only in the answer that shows it and in requests."""

    prefix: str
    secret: str

    def __str__(self) -> str:
        return f"{MARK}_{self.prefix}_{self.secret}"

    def __repr__(self) -> str:
        return f"<key {MARK}_{self.prefix}_…>"  # a traceback or a log line must not hold the secret


def generate_key() -> KeyText:
    """A fresh key: 37 characters of 62 kinds are 220 random bits."""
    prefix = _random_text(PREFIX_LENGTH)
    body = _random_text(SECRET_LENGTH - _CHECKSUM_LENGTH)
    return KeyText(prefix, body + checksum(prefix, body))


def split_key(text: str) -> KeyText | None:
    """The parts of what has the form of a key, or None. The checksum is not looked at."""
    match = _PATTERN.fullmatch(text)
    return KeyText(*match.groups()) if match else None


def parse_key(text: str) -> KeyText | None:
    """The parts of a key, or None where the form or the checksum is wrong."""
    key = split_key(text)
    if key is None:
        return None
    body, check = key.secret[:-_CHECKSUM_LENGTH], key.secret[-_CHECKSUM_LENGTH:]
    return key if check == checksum(key.prefix, body) else None


def is_in_address(parameters: Iterable[tuple[str, Iterable[object]]]) -> bool:
    """Whether a query string, given as names and their values, holds what may be a key."""
    return any(
        name.lower() in _PARAMETERS
        or any(str(value).strip().startswith(f"{MARK}_") for value in values)
        for name, values in parameters
    )


def keys_in_headers(authorization: str, api_key: str | None) -> set[str]:
    """What the headers of a call offer as a key, right or wrong; empty where they offer none.

    `api_key` is None where there is no `X-API-Key`.
    """
    offered = set()
    authorization = authorization.strip()
    if match := _BEARER.fullmatch(authorization):
        offered.add((match.group(1) or "").strip())
    elif authorization.startswith(f"{MARK}_"):
        offered.add(f"Bearer is missing before {MARK}_")
    if api_key is not None:
        offered.add(api_key.strip())
    return offered


def checksum(prefix: str, body: str) -> str:
    """CRC-32 of the key before it, in base 62."""
    number = zlib.crc32(f"{MARK}_{prefix}_{body}".encode())
    digits = ""
    for _ in range(_CHECKSUM_LENGTH):
        number, digit = divmod(number, len(_ALPHABET))
        digits = _ALPHABET[digit] + digits
    return digits


def digest_key(key: KeyText, pepper: str) -> str:
    """What the database holds: HMAC-SHA-256 of the whole key under the server's pepper, in hex.

    A slow hash would add nothing: the secret has 220 random bits, so there is nothing to guess.
    """
    return hmac.new(pepper.encode(), str(key).encode(), hashlib.sha256).hexdigest()


def _random_text(length: int) -> str:
    return "".join(secrets.choice(_ALPHABET) for _ in range(length))
