"""The second factor: taking it into an app, fresh recovery codes, turning it off."""

from __future__ import annotations

from typing import Any

import segno
from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils.translation import gettext, gettext_lazy

from accounts import pending_sign_in, sign_in_gate
from accounts.forms.second_factor import DisableForm
from accounts.forms.sign_in import CodeForm
from accounts.models import User
from accounts.services import second_factor, sessions
from accounts.services.sessions import SignInMethod
from accounts.views.caller import caller
from accounts.views.redirects import after_sign_in
from accounts.views.sign_in import private
from llamagpu.http.errors import AppError
from llamagpu.http.pages import PageView
from llamagpu.http.permissions import Public, SignedIn
from llamagpu.lib.error_codes import ErrorCode

_WRONG = gettext_lazy("This code is wrong. Is the clock of your phone right?")


@private
class SecondFactorPage(PageView):
    """Whether one's own second factor is on, and what can be done about it."""

    access = SignedIn()

    def get(self, request: HttpRequest) -> HttpResponse:
        user = caller(request)
        context = {
            "offered": second_factor.is_offered(),
            "on": second_factor.has_second_factor(user),
            "required": second_factor.is_required_of(user),
            "codes_left": second_factor.num_recovery_codes(user),
        }
        return render(request, "accounts/second_factor.html", context)


@private
class EnrolPage(PageView):
    """Takes the secret into an app and proves it with a first code."""

    access = SignedIn()

    def get(self, request: HttpRequest) -> HttpResponse:
        return enrolment_page(request, caller(request), CodeForm())

    def post(self, request: HttpRequest) -> HttpResponse:
        user = caller(request)
        form = CodeForm(request.POST)
        codes = _confirm(request, user, form)
        if codes is None:
            return enrolment_page(request, user, form)
        sessions.keep_session(request=request, user=user)
        return codes_page(request, codes, "second-factor")


@private
class EnrolAtSignInPage(PageView):
    """The same between password and session, where a second factor is required."""

    access = Public("Opens only for a session that has shown a password.")

    def get(self, request: HttpRequest) -> HttpResponse:
        user = _enrolling(request)
        return enrolment_page(request, user, CodeForm()) if user else redirect("login")

    def post(self, request: HttpRequest) -> HttpResponse:
        user = _enrolling(request)
        if user is None:
            return redirect("login")
        form = CodeForm(request.POST)
        codes = _confirm(request, user, form)
        if codes is None:
            return enrolment_page(request, user, form)
        target = after_sign_in(request, pending_sign_in.next_url_of(request))
        pending_sign_in.clear(request)
        sessions.open_session(request=request, user=user, method=SignInMethod.CODE)
        return codes_page(request, codes, target)


@private
class RecoveryCodesPage(PageView):
    """Fresh recovery codes for who shows a code."""

    access = SignedIn()

    def get(self, request: HttpRequest) -> HttpResponse:
        return self._page(request, CodeForm())

    def post(self, request: HttpRequest) -> HttpResponse:
        form = CodeForm(request.POST)
        if form.is_valid():
            user = caller(request)
            sign_in_gate.admit(request, user.get_username())
            codes = second_factor.new_recovery_codes(user=user, code=form.cleaned_data["code"])
            if codes is not None:
                return codes_page(request, codes, "second-factor")
            form.add_error("code", _WRONG)
        return self._page(request, form)

    def _page(self, request: HttpRequest, form: CodeForm) -> HttpResponse:
        return render(request, "accounts/recovery_codes_form.html", {"form": form})


@private
class DisablePage(PageView):
    """Off again, for who shows the password and a code."""

    access = SignedIn()

    def get(self, request: HttpRequest) -> HttpResponse:
        return self._page(request, DisableForm())

    def post(self, request: HttpRequest) -> HttpResponse:
        form = DisableForm(request.POST)
        user = caller(request)
        if form.is_valid():
            sign_in_gate.admit(request, user.get_username())
            try:
                second_factor.disable(user=user, **form.cleaned_data)
            except AppError as error:
                form.add_error(None, error.message)
            else:
                sessions.keep_session(request=request, user=user)
                messages.success(request, gettext("The second factor is off."))
                return redirect("second-factor")
        return self._page(request, form)

    def _page(self, request: HttpRequest, form: DisableForm) -> HttpResponse:
        return render(request, "accounts/second_factor_off.html", {"form": form})


def enrolment_page(request: HttpRequest, user: User, form: CodeForm) -> HttpResponse:
    """QR code, secret in text, and the form for the first code. Raises AppError."""
    if not second_factor.is_offered():
        raise _not_offered()
    device = second_factor.enrolment_of(user=user)
    qr_code = segno.make(device.config_url, micro=False, error="m")
    context: dict[str, Any] = {
        "form": form,
        "qr_code": qr_code.svg_data_uri(scale=5, border=2, light="#fff"),
        "secret": second_factor.secret_text(device),
        "signed_in": request.user.is_authenticated,
    }
    return render(request, "accounts/second_factor_enrol.html", context)


def codes_page(request: HttpRequest, codes: list[str], target: str) -> HttpResponse:
    """Shows recovery codes, this once; `target` is where to go on."""
    return render(request, "accounts/recovery_codes.html", {"codes": codes, "target": target})


def _confirm(request: HttpRequest, user: User, form: CodeForm) -> list[str] | None:
    if not second_factor.is_offered():
        raise _not_offered()
    if not form.is_valid():
        return None
    sign_in_gate.admit(request, user.get_username())
    codes = second_factor.confirm_enrolment(user=user, code=form.cleaned_data["code"])
    if codes is None:
        form.add_error("code", _WRONG)
    return codes


def _enrolling(request: HttpRequest) -> User | None:
    """Who has shown a password, needs a second factor and has none."""
    user = pending_sign_in.user_of(request)
    if user is None or second_factor.has_second_factor(user):
        return None
    return user


def _not_offered() -> AppError:
    return AppError(ErrorCode.NOT_FOUND, "This installation has no second factor (LLAMA_TOTP).")
