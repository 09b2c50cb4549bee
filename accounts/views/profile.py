"""One's own account."""

from __future__ import annotations

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils.translation import gettext

from accounts import sign_in_gate
from accounts.forms.profile import ProfileForm
from accounts.models import User
from accounts.services import second_factor, sessions
from accounts.services.users import change_user
from accounts.views.caller import caller
from accounts.views.sign_in import private
from llamagpu.http.errors import AppError
from llamagpu.http.pages import PageView
from llamagpu.http.permissions import SignedIn


@private
class AccountPage(PageView):
    """Names and e-mail address; what signs one in."""

    access = SignedIn()

    def get(self, request: HttpRequest) -> HttpResponse:
        user = caller(request)
        return self._page(request, user, ProfileForm(user))

    def post(self, request: HttpRequest) -> HttpResponse:
        user = caller(request)
        if request.POST.get("password"):
            sign_in_gate.admit(request, user.get_username())
        form = ProfileForm(user, request.POST)
        if not form.is_valid():
            return self._page(request, user, form)
        try:
            data = form.cleaned_data
            change_user(
                actor=user,
                user=user,
                email=data["email"],
                first_name=data["first_name"],
                last_name=data["last_name"],
            )
        except AppError as error:
            form.add_error(None, error.message)
            return self._page(request, user, form)
        messages.success(request, gettext("Your account is changed."))
        return redirect("account")

    def _page(self, request: HttpRequest, user: User, form: ProfileForm) -> HttpResponse:
        context = {
            "form": form,
            "person_shown": user,
            "has_second_factor": second_factor.has_second_factor(user),
            "second_factor_offered": second_factor.is_offered(),
        }
        return render(request, "accounts/account.html", context)


class EndSessions(PageView):
    """Signs out everywhere but here."""

    access = SignedIn()

    def post(self, request: HttpRequest) -> HttpResponse:
        user = caller(request)
        sessions.end_sessions(actor=user, user=user)
        sessions.keep_session(request=request, user=user)
        messages.success(request, gettext("All your other sessions have ended."))
        return redirect("account")
