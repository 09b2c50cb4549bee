"""Secrets of other systems in the database."""

from __future__ import annotations

import pytest

from llamagpu.lib.sealing import Sealer, UnsealError


def test_what_was_sealed_opens_and_shows_nothing() -> None:
    sealer = Sealer(["a secret"], "keys")
    sealed = sealer.seal("sk-123")
    assert "sk-123" not in sealed
    assert sealer.seal("sk-123") != sealed
    assert sealer.unseal(sealed) == "sk-123"


def test_an_older_secret_still_opens() -> None:
    sealed = Sealer(["old"], "keys").seal("sk-123")
    assert Sealer(["new", "old"], "keys").unseal(sealed) == "sk-123"
    with pytest.raises(UnsealError):
        Sealer(["new"], "keys").unseal(sealed)


def test_purposes_keep_apart() -> None:
    sealed = Sealer(["a secret"], "keys").seal("sk-123")
    with pytest.raises(UnsealError):
        Sealer(["a secret"], "mails").unseal(sealed)


@pytest.mark.parametrize("text", ["", "sk-123", "\u00e4"])
def test_what_was_not_sealed_does_not_open(text: str) -> None:
    with pytest.raises(UnsealError):
        Sealer(["a secret"], "keys").unseal(text)
