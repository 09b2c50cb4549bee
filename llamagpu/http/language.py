"""The language of pages: the one that somebody has chosen, English else.

Programs are answered in English always: what they are told is part of the API.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from asgiref.sync import iscoroutinefunction
from django.conf import settings
from django.http import HttpRequest, HttpResponse, HttpResponseBase, HttpResponseRedirect
from django.utils import translation
from django.utils.decorators import sync_and_async_middleware
from django.utils.http import url_has_allowed_host_and_scheme
from django.views.decorators.http import require_POST

from llamagpu.http.permissions import Public, declare_access
from llamagpu.http.programs import is_for_programs

ENGLISH = "en"

Handler = (
    Callable[[HttpRequest], HttpResponseBase] | Callable[[HttpRequest], Awaitable[HttpResponseBase]]
)


def chosen_language(request: HttpRequest) -> str:
    """A browser's own wish does not count: who is used to the English words keeps them."""
    chosen = request.COOKIES.get(settings.LANGUAGE_COOKIE_NAME, "")
    return chosen if chosen in dict(settings.LANGUAGES) else ENGLISH


@sync_and_async_middleware
def language_middleware(get_response: Handler) -> Handler:
    if iscoroutinefunction(get_response):

        async def serve(request: HttpRequest) -> HttpResponseBase:
            if is_for_programs(request.path_info):
                return await get_response(request)
            with translation.override(chosen_language(request)):
                return await get_response(request)

        return serve

    def serve_sync(request: HttpRequest) -> HttpResponseBase:
        if is_for_programs(request.path_info):
            return get_response(request)  # type: ignore[return-value]
        with translation.override(chosen_language(request)):
            return get_response(request)  # type: ignore[return-value]

    return serve_sync


@declare_access(Public("It changes nothing but a cookie of the one who asks."))
@require_POST
def choose_language(request: HttpRequest) -> HttpResponse:
    """POST `language` and the path to go back to."""
    back = request.POST.get("next", "/")
    if not back.startswith("/") or not url_has_allowed_host_and_scheme(back, None):
        back = "/"
    response = HttpResponseRedirect(back)
    language = request.POST.get("language", "")
    if language in dict(settings.LANGUAGES):
        response.set_cookie(
            settings.LANGUAGE_COOKIE_NAME,
            language,
            max_age=settings.LANGUAGE_COOKIE_AGE,
            secure=settings.SESSION_COOKIE_SECURE,
            httponly=True,
            samesite="Lax",
        )
    return response
