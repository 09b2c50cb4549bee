"""Our side of OpenID Connect: the code flow with PKCE, state and nonce, by Authlib, read strictly.

A client is made for each sign-in and asks the provider anew for its description and keys, so a
changed key counts at once.
"""

from __future__ import annotations

import logging
from typing import Any
from urllib.parse import urlsplit

import requests
from authlib.common.errors import AuthlibBaseError
from authlib.integrations.django_client import DjangoIntegration, DjangoOAuth2App
from django.http import HttpRequest, HttpResponseRedirect
from joserfc.errors import JoseError

from llamagpu.http.errors import AppError
from llamagpu.lib.error_codes import ErrorCode
from llamagpu.lib.sign_in_config import OidcConfig

logger = logging.getLogger(__name__)

#: Signatures by keys that only the provider has: no shared secrets, no `none`.
ALGORITHMS = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512")
_BASIC, _POST = "client_secret_basic", "client_secret_post"
_TIMEOUT = 10  # seconds for each answer of the provider
_LEEWAY = 60  # seconds that its clock may be off
_REFUSED = "The sign-in by the provider could not be verified. Please start again."
_DOWN = "The sign-in provider does not answer. Please try again later."


class OidcClient(DjangoOAuth2App):
    """One sign-in's client. Every problem is an AppError with a sentence for the person."""

    def __init__(self, config: OidcConfig) -> None:
        method = _BASIC if config.client_secret else "none"
        super().__init__(
            DjangoIntegration("sso"),
            name="sso",
            client_id=config.client_id,
            client_secret=config.client_secret or None,
            server_metadata_url=f"{config.issuer.rstrip('/')}/.well-known/openid-configuration",
            client_kwargs={
                "scope": " ".join(config.scopes),
                "code_challenge_method": "S256",
                "token_endpoint_auth_method": method,
                "default_timeout": _TIMEOUT,
            },
        )
        self._issuer = config.issuer

    def load_server_metadata(self) -> dict[str, Any]:
        """The provider's description, once it is known to be its own and safe to follow."""
        if "_loaded_at" not in self.server_metadata:
            metadata = super().load_server_metadata()
            try:
                metadata["id_token_signing_alg_values_supported"] = _checked(metadata, self._issuer)
            except ValueError:
                metadata.clear()  # or it would pass for checked the next time
                raise
            methods = metadata.get("token_endpoint_auth_methods_supported")
            if self.client_secret and methods and _BASIC not in methods:
                self.client_kwargs["token_endpoint_auth_method"] = _POST
        return dict(self.server_metadata)

    def to_provider(
        self, request: HttpRequest, redirect_uri: str, next_url: str
    ) -> HttpResponseRedirect:
        """Sends the person to the provider; state, nonce and verifier wait in the session."""
        try:
            sent = self.create_authorization_url(redirect_uri)
        except _PROBLEMS as error:
            raise _as_app_error(error) from error
        self.save_authorize_data(request, redirect_uri=redirect_uri, next=next_url, **sent)
        return HttpResponseRedirect(sent["url"])

    def from_provider(self, request: HttpRequest) -> tuple[dict[str, Any], str]:
        """The verified claims of who came back, and where they wanted to go. Each state works once."""
        state = request.GET.get("state", "")
        noted = self.framework.get_state_data(request.session, state) if state else None
        if noted is None:
            raise AppError(ErrorCode.PERMISSION_DENIED, _REFUSED)
        try:
            token = self.authorize_access_token(
                request, claims_options=self._expected(), leeway=_LEEWAY
            )
        except _PROBLEMS as error:
            raise _as_app_error(error) from error
        claims = token.get("userinfo")
        if not claims or not claims.get("sub"):
            raise _refused("the provider sent no identity token")
        return dict(claims), str(noted.get("next", ""))

    def _expected(self) -> dict[str, Any]:
        """What the token must say: its issuer is the one we know, we are who it was made for."""
        issuer = self.load_server_metadata()["issuer"]
        return {
            "iss": {"essential": True, "value": issuer},
            "aud": {"essential": True, "value": self.client_id},
            "exp": {"essential": True},
            "sub": {"essential": True},
        }


_PROBLEMS = (
    AuthlibBaseError,
    JoseError,
    requests.RequestException,
    ValueError,
    TypeError,
    KeyError,
)


def _checked(metadata: dict[str, Any], issuer: str) -> list[str]:
    """The signatures to accept. Raises ValueError for a description of somebody else or without HTTPS."""
    if str(metadata.get("issuer", "")).rstrip("/") != issuer.rstrip("/"):
        raise ValueError("the provider's description names another issuer")
    scheme = urlsplit(issuer).scheme
    for name in ("authorization_endpoint", "token_endpoint", "jwks_uri"):
        if urlsplit(str(metadata.get(name, ""))).scheme not in {"https", scheme}:
            raise ValueError(f"the provider's {name} is missing or not https")
    offered = metadata.get("id_token_signing_alg_values_supported") or ["RS256"]
    accepted = [name for name in ALGORITHMS if name in offered]
    if not accepted:
        raise ValueError("the provider signs with none of the algorithms that we accept")
    return accepted


def _as_app_error(error: Exception) -> AppError:
    if isinstance(error, requests.JSONDecodeError):
        return _refused("the provider's answer is no JSON")
    if isinstance(error, requests.RequestException):
        logger.warning("the sign-in provider does not answer: %s", type(error).__name__)
        return AppError(ErrorCode.BACKEND_UNAVAILABLE, _DOWN, retry_after=30)
    # Descriptions come from outside: for the log, cut short and never for the page.
    return _refused(f"{type(error).__name__}: {str(error)[:200]!r}")


def _refused(reason: str) -> AppError:
    logger.warning("single sign-on refused: %s", reason)
    return AppError(ErrorCode.PERMISSION_DENIED, _REFUSED)
