"""Addresses of accounts under `/api/`."""

from __future__ import annotations

from django.urls import URLPattern, path

from accounts.api.keys import KeysView, KeyView, RotateKeyView
from accounts.api.limits import LimitsView, OwnLimitsView, SubjectLimitsView
from accounts.api.me import MeView
from accounts.api.roles import RolesView, RoleView
from accounts.api.usage import UsageView
from accounts.api.users import UsersView, UserView

urlpatterns: list[URLPattern] = [
    path("keys", KeysView.as_view(), name="api-keys"),
    path("keys/<str:reference>", KeyView.as_view(), name="api-key"),
    path("keys/<str:reference>/rotate", RotateKeyView.as_view(), name="rotate-api-key"),
    path("limits", LimitsView.as_view(), name="limits"),
    path("limits/<path:subject>", SubjectLimitsView.as_view(), name="subject-limits"),
    path("me/limits", OwnLimitsView.as_view(), name="own-limits"),
    path("usage", UsageView.as_view(), name="api-usage"),
    path("me", MeView.as_view(), name="me"),
    path("users", UsersView.as_view(), name="users"),
    path("users/<int:pk>", UserView.as_view(), name="user"),
    path("roles", RolesView.as_view(), name="role-list"),
    path("roles/<slug:slug>", RoleView.as_view(), name="role"),
]
