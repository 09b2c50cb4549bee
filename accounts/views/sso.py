"""The way to the single sign-on provider and back."""

from __future__ import annotations

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.urls import reverse

from accounts import sign_in_gate
from accounts.forms.sign_in import SignInForm
from accounts.oidc import OidcClient
from accounts.services import single_sign_on
from accounts.services.sessions import SignInMethod, SignInStep, note_failed_sign_in
from accounts.views.redirects import safe_next
from accounts.views.sign_in import finish, private, sign_in_page
from llamagpu.http.errors import AppError
from llamagpu.http.pages import PageView
from llamagpu.http.permissions import Public
from llamagpu.lib.error_codes import ErrorCode
from llamagpu.lib.sign_in_config import OidcConfig


@private
class StartPage(PageView):
    """Off to the provider."""

    access = Public("Nobody has signed in before they have signed in.")

    def get(self, request: HttpRequest) -> HttpResponse:
        config = _config()
        sign_in_gate.admit(request)
        try:
            client = OidcClient(config)
            return client.to_provider(request, _callback_address(request), safe_next(request))
        except AppError as error:
            return _failed(request, error)


@private
class CallbackPage(PageView):
    """Back from the provider, with a code that it takes for an identity token."""

    access = Public("State, verifier and nonce in the session are the credentials.")

    def get(self, request: HttpRequest) -> HttpResponse:
        config = _config()
        sign_in_gate.admit(request)
        try:
            claims, next_url = OidcClient(config).from_provider(request)
            user = single_sign_on.user_of_claims(config=config, claims=claims)
        except AppError as error:
            note_failed_sign_in(username="", step=SignInStep.SINGLE_SIGN_ON, reason=error.message)
            return _failed(request, error)
        return finish(request, user, SignInMethod.SINGLE_SIGN_ON, next_url)


def _config() -> OidcConfig:
    config = settings.SIGN_IN.oidc
    if config is None:
        raise AppError(ErrorCode.NOT_FOUND, "This installation has no single sign-on.")
    return config


def _failed(request: HttpRequest, error: AppError) -> HttpResponse:
    """The sign-in page with what went wrong: the password still works."""
    response = sign_in_page(
        request, SignInForm(), problem=error.message, status=error.code.http_status
    )
    for name, value in error.headers.items():
        response.headers[name] = value
    return response


def _callback_address(request: HttpRequest) -> str:
    path = reverse("sso-callback")
    public_url: str = settings.LLAMA.public_url
    return f"{public_url}{path}" if public_url else request.build_absolute_uri(path)
