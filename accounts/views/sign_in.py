"""Signing in, in one step or two, and out."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import redirect, render
from django.utils.decorators import method_decorator
from django.utils.translation import gettext, gettext_lazy
from django.views.decorators.cache import never_cache
from django.views.decorators.debug import sensitive_post_parameters

from accounts import pending_sign_in
from accounts.forms.sign_in import CodeForm, SignInForm
from accounts.models import User
from accounts.services import second_factor, sessions, sign_in
from accounts.services.sessions import SignInMethod
from accounts.views.redirects import after_sign_in, safe_next
from llamagpu.http.pages import PageView
from llamagpu.http.permissions import Public

_WRONG = gettext_lazy("The user name or the password is wrong. Mind upper and lower case.")
private = method_decorator([never_cache, sensitive_post_parameters()], name="dispatch")


@private
class SignInPage(PageView):
    """The first step: a name and a password, or the way to single sign-on."""

    access = Public("Nobody has signed in before they have signed in.")

    def get(self, request: HttpRequest) -> HttpResponse:
        if request.user.is_authenticated:
            return HttpResponseRedirect(after_sign_in(request))
        return sign_in_page(request, SignInForm())

    def post(self, request: HttpRequest) -> HttpResponse:
        form = SignInForm(request.POST)
        if not form.is_valid():
            return sign_in_page(request, form)
        user = sign_in.check_password(request=request, **form.cleaned_data)
        if user is None:
            form.add_error(None, _WRONG)
            return sign_in_page(request, form)
        return pass_on(request, user)


@private
class CodePage(PageView):
    """The second step, for who has a second factor."""

    access = Public("Opens only for a session that has shown a password.")

    def get(self, request: HttpRequest) -> HttpResponse:
        return self._page(request, pending_sign_in.user_of(request), CodeForm())

    def post(self, request: HttpRequest) -> HttpResponse:
        user = pending_sign_in.user_of(request)
        form = CodeForm(request.POST)
        if user is None or not form.is_valid():
            return self._page(request, user, form)
        code = form.cleaned_data["code"]
        method = sign_in.check_code(request=request, user=user, code=code)
        if method is None:
            form.add_error("code", gettext("This code is wrong, used or too old."))
            return self._page(request, user, form)
        return finish(request, user, method, pending_sign_in.next_url_of(request))

    def _page(self, request: HttpRequest, user: User | None, form: CodeForm) -> HttpResponse:
        if user is None:
            return redirect("login")
        return render(request, "accounts/code.html", {"form": form, "name": user.get_username()})


class SignOut(PageView):
    """Ends the session; a POST only."""

    access = Public("Signing out twice does no harm.")

    def post(self, request: HttpRequest) -> HttpResponse:
        sessions.close_session(request=request)
        return redirect("login")


def sign_in_page(
    request: HttpRequest, form: SignInForm, *, problem: str = "", status: int = 200
) -> HttpResponse:
    """The page of the first step; `problem` is what went wrong elsewhere."""
    oidc = settings.SIGN_IN.oidc
    context: dict[str, Any] = {
        "form": form,
        "next": safe_next(request),
        "problem": problem,
        "sso_label": oidc.label if oidc else "",
        "password_shown": oidc is None
        or not oidc.only
        or "password" in request.GET
        or form.is_bound,
        "reset_offered": True,
    }
    return render(request, "accounts/sign_in.html", context, status=status)


def pass_on(request: HttpRequest, user: User) -> HttpResponse:
    """The password was right: a session, or the second step first."""
    if not second_factor.is_asked_of(user):
        return finish(request, user, SignInMethod.PASSWORD, safe_next(request))
    pending_sign_in.begin(request, user, safe_next(request))
    return redirect("login-code" if second_factor.has_second_factor(user) else "login-enrol")


def finish(
    request: HttpRequest, user: User, method: SignInMethod, wanted: str
) -> HttpResponseRedirect:
    """Signs in and goes where the caller wanted to."""
    pending_sign_in.clear(request)
    sessions.open_session(request=request, user=user, method=method)
    return HttpResponseRedirect(after_sign_in(request, wanted))
