"""API keys as REST framework authentication."""

from __future__ import annotations

from rest_framework.authentication import BaseAuthentication
from rest_framework.exceptions import AuthenticationFailed
from rest_framework.request import Request

from accounts.api_keys import MARK
from accounts.models import ApiKey, User
from accounts.services.api_keys import authenticate_key

_KEY_PARAMETERS = {"api_key", "apikey", "key", "access_token", "token"}


class ApiKeyAuthentication(BaseAuthentication):
    """`Authorization: Bearer <key>` or `X-API-Key: <key>`.

    A request that carries a key stands or falls with it: the session cookie is not asked. A key in
    the address is refused, since addresses end up in logs.
    """

    def authenticate(self, request: Request) -> tuple[User, ApiKey] | None:
        for name, value in request.query_params.items():
            if name.lower() in _KEY_PARAMETERS or str(value).startswith(f"{MARK}_"):
                raise AuthenticationFailed(
                    "A key in the address is refused: send it as 'Authorization: Bearer <key>'."
                )
        text = _key_of(request)
        if text is None:
            return None
        key = authenticate_key(text)
        if key is None:
            raise AuthenticationFailed("The API key is unknown, revoked or expired.")
        return key.user, key

    def authenticate_header(self, request: Request) -> str:
        return 'Bearer realm="llamagpu"'


def _key_of(request: Request) -> str | None:
    scheme, _, value = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() == "bearer":
        return value.strip()
    return request.headers.get("X-API-Key")
