"""API keys as REST framework authentication."""

from __future__ import annotations

from rest_framework import exceptions
from rest_framework.authentication import BaseAuthentication
from rest_framework.request import Request

from accounts import failed_attempts
from accounts.api_keys import is_in_address, keys_in_headers
from accounts.models import ApiKey, User
from accounts.services.key_authentication import REFUSAL, WrongAddressError, authenticate_key
from llamagpu.http.errors import AppError
from llamagpu.http.origin import current_origin
from llamagpu.http.refusals import Refusal, report, route_of
from llamagpu.lib.error_codes import ErrorCode


class ApiKeyAuthentication(BaseAuthentication):
    """`Authorization: Bearer <key>` or `X-API-Key: <key>`.

    A request that carries a key stands or falls with it: the session cookie is not asked. A key in
    the address is refused, since addresses end up in logs.
    """

    def authenticate(self, request: Request) -> tuple[User, ApiKey] | None:
        if is_in_address(request.query_params.lists()):
            _tell_what_is_left(request)
            raise exceptions.AuthenticationFailed(
                "A key in the address is refused: send it as 'Authorization: Bearer <key>'."
            )
        offered = keys_in_headers(
            request.headers.get("Authorization", ""), request.headers.get("X-API-Key")
        )
        if not offered:
            return None
        # Two different ones would leave open whose rights are meant: as one text, they are no key.
        text = " ".join(offered)
        try:
            key = authenticate_key(text, current_origin.get().peer)
        except AppError as error:
            raise _as_refusal(request, error) from error
        return key.user, key

    def authenticate_header(self, request: Request) -> str:
        return 'Bearer realm="llamagpu"'


def _as_refusal(request: Request, error: AppError) -> exceptions.APIException:
    """The framework's own exception of the same meaning: only such a one ends its authentication."""
    _tell_what_is_left(request)
    if error.code is ErrorCode.RATE_LIMIT_EXCEEDED:
        throttled = exceptions.Throttled(wait=error.retry_after)
        throttled.detail = error.message  # type: ignore[assignment]
        return throttled
    if isinstance(error, WrongAddressError):
        method, route = request.method or "", route_of(request)
        report(Refusal(error.key.user, method, route, "allowed addresses", error.message))
        return exceptions.PermissionDenied(error.message)
    return exceptions.AuthenticationFailed(REFUSAL)


def _tell_what_is_left(request: Request) -> None:
    """The limit that holds for who has no key: refused ones from one address."""
    left = failed_attempts.failures_left(current_origin.get().peer)
    if left is None:
        return
    remaining, seconds = left
    request._request.answer_headers.update(  # type: ignore[attr-defined]
        {
            "X-RateLimit-Limit": str(failed_attempts.MAX_FAILURES),
            "X-RateLimit-Remaining": str(remaining),
            "X-RateLimit-Reset": str(seconds),
        }
    )
