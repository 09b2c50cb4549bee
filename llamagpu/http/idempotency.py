"""`Idempotency-Key`: a call that is sent again with the same key is the same call, not another one.

Views that make work take the header and say so (`takes_idempotency_key`). Other POSTs refuse it: they
would act twice, and whoever sends it counts on the contrary.
"""

from __future__ import annotations

import json
import re
from typing import Any

from django.utils.crypto import salted_hmac
from drf_spectacular.utils import OpenApiParameter
from rest_framework.exceptions import ValidationError
from rest_framework.permissions import BasePermission
from rest_framework.request import Request

HEADER = "Idempotency-Key"
#: On answers that a former call has made.
REPLAYED_HEADER = "Idempotent-Replayed"
PARAMETER = OpenApiParameter(
    HEADER,
    str,
    OpenApiParameter.HEADER,
    description="1 to 255 visible ASCII characters of your choice. The same key with the same body "
    "within 24 hours gets the first call's answer and runs nothing.",
)
_VALID = re.compile(r"[\x21-\x7e]{1,255}")
_ALIAS = re.compile(r"^/api/v1/")


class RefuseUnusedKey(BasePermission):
    """Lets a POST pass that takes an `Idempotency-Key` or has none.

    Raises ValidationError that names the header for any other.
    """

    def has_permission(self, request: Request, view: Any) -> bool:
        is_unused = request.method == "POST" and HEADER in request.headers
        if is_unused and not getattr(view, "takes_idempotency_key", False):
            message = (
                "Not taken here: sent again, this call is done again. Calls that generate take it."
            )
            raise ValidationError({HEADER: [message]})
        return True


def given_key(request: Request) -> str | None:
    """The caller's key, None where there is none. Raises ValidationError that names the header."""
    key = request.headers.get(HEADER)
    if key is not None and _VALID.fullmatch(key) is None:
        raise ValidationError({HEADER: ["Must be 1 to 255 visible ASCII characters."]})
    return key


def fingerprint_of(request: Request) -> str:
    """64 hex digits by which two calls of the same address and the same body are known as the same.

    Spelling does not count: order of keys, white space, the alias `/api/v1/`. Nor can the body be
    guessed from it without this installation's secret.
    """
    path = _ALIAS.sub("/api/", request.path)
    body = json.dumps(request.data, sort_keys=True, separators=(",", ":"))
    text = f"{request.method} {path}\n{body}"
    return salted_hmac("idempotent call", text, algorithm="sha256").hexdigest()
