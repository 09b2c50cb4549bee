"""Changing one's password, and setting a new one through a one-time link."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.contrib import messages
from django.contrib.auth.views import INTERNAL_RESET_SESSION_TOKEN, PasswordResetConfirmView
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils.translation import gettext

from accounts import sign_in_gate
from accounts.forms.passwords import ChangePasswordForm, NewPasswordForm, ResetRequestForm
from accounts.mail import send_later
from accounts.services import passwords, sessions
from accounts.services.users import set_password
from accounts.views.caller import caller
from accounts.views.sign_in import private
from llamagpu.http.errors import AppError
from llamagpu.http.pages import PageView
from llamagpu.http.permissions import Public, SignedIn


@private
class PasswordChangePage(PageView):
    """A new password for who knows the old one. All other sessions end."""

    access = SignedIn()

    def get(self, request: HttpRequest) -> HttpResponse:
        return self._page(request, ChangePasswordForm(caller(request)))

    def post(self, request: HttpRequest) -> HttpResponse:
        user = caller(request)
        sign_in_gate.admit(request, user.get_username())
        form = ChangePasswordForm(user, request.POST)
        if not form.is_valid():
            return self._page(request, form)
        try:
            user = set_password(actor=user, user=user, password=form.cleaned_data["password"])
        except AppError as error:
            form.add_error(None, error.message)
            return self._page(request, form)
        sessions.keep_session(request=request, user=user)
        messages.success(
            request, gettext("The password is changed. All other sessions have ended.")
        )
        return redirect("account")

    def _page(self, request: HttpRequest, form: ChangePasswordForm) -> HttpResponse:
        context = {"form": form, "has_password": form.user.has_usable_password()}
        return render(request, "accounts/password_change.html", context)


@private
class ResetRequestPage(PageView):
    """Asks for the mail with the link. The answer is the same whether there is such an account."""

    access = Public("Who has lost the password cannot sign in.")

    def get(self, request: HttpRequest) -> HttpResponse:
        return self._page(request, ResetRequestForm())

    def post(self, request: HttpRequest) -> HttpResponse:
        form = ResetRequestForm(request.POST)
        if not passwords.is_mail_configured() or not form.is_valid():
            return self._page(request, form)
        email = form.cleaned_data["email"]
        sign_in_gate.admit(request, f"reset {email.lower()}")
        send_later(passwords.send_reset_mails, email=email, base_url=_base_url(request))
        return self._page(request, form, sent=True)

    def _page(
        self, request: HttpRequest, form: ResetRequestForm, *, sent: bool = False
    ) -> HttpResponse:
        context = {"form": form, "sent": sent, "mail": passwords.is_mail_configured()}
        return render(request, "accounts/password_reset.html", context)


@private
class ResetConfirmPage(PasswordResetConfirmView):
    """Where the link leads. Django keeps the token in the session, out of addresses and logs."""

    access = Public("The one-time token in the address is the credential.")
    template_name = "accounts/password_reset_confirm.html"
    form_class = NewPasswordForm  # type: ignore[assignment]

    def get_user(self, uidb64: str) -> Any:
        user = super().get_user(uidb64)
        return user if user is not None and user.is_active else None

    def form_valid(self, form: Any) -> HttpResponse:
        user: Any = self.user
        try:
            passwords.reset_password(user=user, password=form.cleaned_data["password"])
        except AppError as error:
            form.add_error(None, error.message)
            return self.form_invalid(form)
        del self.request.session[INTERNAL_RESET_SESSION_TOKEN]
        messages.success(self.request, gettext("The new password is set: sign in with it."))
        return redirect("login")


def _base_url(request: HttpRequest) -> str:
    """The declared address; else the one of the request, whose host Django has checked."""
    return settings.LLAMA.public_url or request.build_absolute_uri("/").rstrip("/")
