"""Signing in and out."""

from __future__ import annotations

from django.contrib.auth import views

from llamagpu.http.permissions import Public


class SignInPage(views.LoginView):
    """A name and a password open a session."""

    access = Public("Nobody has signed in before they have signed in.")
    template_name = "accounts/sign_in.html"
    redirect_authenticated_user = True


class SignOut(views.LogoutView):
    """Ends the session; a POST only."""

    access = Public("Signing out twice does no harm.")
    next_page = "login"
