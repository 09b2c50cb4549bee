"""Stage 2/7: the `Idempotency-Key` of a call, where it has one."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from rest_framework.request import Request

from inference.services.idempotency import CallKey, once
from llamagpu.http.idempotency import REPLAYED_HEADER, fingerprint_of, given_key

Made = TypeVar("Made")


def made_once(
    request: Request,
    find: Callable[[CallKey], Made | None],
    make: Callable[[CallKey | None], Made],
) -> Made:
    """What an earlier call with the same key has made, which the answer's headers tell; else what `make`
    makes, which writes the key that it is given.

    Raises ValidationError that names the header, and AppError CONFLICT for a key of another call.
    """
    name = given_key(request)
    key = None if name is None else CallKey(request.user, name, fingerprint_of(request))
    made, is_replayed = once(key, find, lambda: make(key))
    if is_replayed:
        request._request.answer_headers[REPLAYED_HEADER] = "true"  # type: ignore[attr-defined]
    return made
