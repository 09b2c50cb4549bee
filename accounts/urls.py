"""Pages of accounts."""

from __future__ import annotations

from django.urls import URLPattern, path

from accounts.views import keys, passwords, profile, second_factor, sign_in, sso
from accounts.views.limits import LimitsPage
from accounts.views.roles import RolesPage
from accounts.views.usage import UsagePage
from accounts.views.users import UsersPage

urlpatterns: list[URLPattern] = [
    path("keys", keys.KeysPage.as_view(), name="keys"),
    path("keys/<str:prefix>/rotate", keys.RotateKeyPage.as_view(), name="key-rotate"),
    path("keys/<str:prefix>/revoke", keys.RevokeKeyPage.as_view(), name="key-revoke"),
    path("roles", RolesPage.as_view(), name="roles"),
    path("users", UsersPage.as_view(), name="users"),
    path("limits", LimitsPage.as_view(), name="limits"),
    path("usage", UsagePage.as_view(), name="usage"),
    path("login/", sign_in.SignInPage.as_view(), name="login"),
    path("login/code/", sign_in.CodePage.as_view(), name="login-code"),
    path("login/second-factor/", second_factor.EnrolAtSignInPage.as_view(), name="login-enrol"),
    path("login/sso/", sso.StartPage.as_view(), name="sso-start"),
    path("login/sso/callback/", sso.CallbackPage.as_view(), name="sso-callback"),
    path("logout/", sign_in.SignOut.as_view(), name="logout"),
    path("password-reset/", passwords.ResetRequestPage.as_view(), name="password-reset"),
    path(
        "password-reset/<uidb64>/<token>/",
        passwords.ResetConfirmPage.as_view(),
        name="password-reset-confirm",
    ),
    path("account/", profile.AccountPage.as_view(), name="account"),
    path("account/sessions/end/", profile.EndSessions.as_view(), name="sessions-end"),
    path("account/password/", passwords.PasswordChangePage.as_view(), name="password-change"),
    path("account/second-factor/", second_factor.SecondFactorPage.as_view(), name="second-factor"),
    path(
        "account/second-factor/enrol/",
        second_factor.EnrolPage.as_view(),
        name="second-factor-enrol",
    ),
    path(
        "account/second-factor/codes/",
        second_factor.RecoveryCodesPage.as_view(),
        name="second-factor-codes",
    ),
    path(
        "account/second-factor/off/", second_factor.DisablePage.as_view(), name="second-factor-off"
    ),
]
