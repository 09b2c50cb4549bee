"""Addresses of accounts under `/api/`."""

from __future__ import annotations

from django.urls import URLPattern, path

from accounts.api.keys import KeysView, KeyView, RotateKeyView
from accounts.api.me import MeView
from accounts.api.roles import RolesView, RoleView
from accounts.api.users import UsersView, UserView

urlpatterns: list[URLPattern] = [
    path("keys", KeysView.as_view(), name="api-keys"),
    path("keys/<str:reference>", KeyView.as_view(), name="api-key"),
    path("keys/<str:reference>/rotate", RotateKeyView.as_view(), name="rotate-api-key"),
    path("me", MeView.as_view(), name="me"),
    path("users", UsersView.as_view(), name="users"),
    path("users/<int:pk>", UserView.as_view(), name="user"),
    path("roles", RolesView.as_view(), name="role-list"),
    path("roles/<slug:slug>", RoleView.as_view(), name="role"),
]
