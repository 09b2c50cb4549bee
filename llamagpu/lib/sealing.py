"""Secrets of other systems, encrypted for the database: who steals its file alone cannot use them."""

from __future__ import annotations

import base64
from collections.abc import Sequence

from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF


class UnsealError(Exception):
    """The text was sealed under a secret that is not known any more, or was changed since."""


class Sealer:
    """Seals under the first of `secrets`; opens what was sealed under any of them.

    `purpose` keeps apart what is sealed for different uses: a text sealed for one opens for no other.
    """

    def __init__(self, secrets: Sequence[str], purpose: str) -> None:
        self._fernet = MultiFernet([Fernet(_key(secret, purpose)) for secret in secrets])

    def seal(self, text: str) -> str:
        """Printable; sealing the same text twice gives two different results."""
        return self._fernet.encrypt(text.encode()).decode()

    def unseal(self, sealed: str) -> str:
        """Raises UnsealError."""
        try:
            return self._fernet.decrypt(sealed.encode()).decode()
        except (InvalidToken, UnicodeError) as error:
            raise UnsealError from error


def _key(secret: str, purpose: str) -> bytes:
    derived = HKDF(algorithm=SHA256(), length=32, salt=None, info=purpose.encode())
    return base64.urlsafe_b64encode(derived.derive(secret.encode()))
