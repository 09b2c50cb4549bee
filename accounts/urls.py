"""Pages of accounts."""

from __future__ import annotations

from django.urls import URLPattern, path

from accounts.views import sign_in

urlpatterns: list[URLPattern] = [
    path("login/", sign_in.SignInPage.as_view(), name="login"),
    path("logout/", sign_in.SignOut.as_view(), name="logout"),
]
