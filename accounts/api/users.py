"""Edges of users: `/api/users`, `/api/users/{id}`."""

from __future__ import annotations

from typing import Any

from django.db.models import Q
from drf_spectacular.utils import extend_schema
from rest_framework.exceptions import NotFound
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from accounts.api.answer_schemas import USER, USERS
from accounts.api.caller import caller_of
from accounts.api.serializers import NewUserSerializer, UserChangeSerializer, UserFilters
from accounts.models import User
from accounts.querysets import UserQuerySet
from accounts.services.users import change_user, create_user, delete_user
from llamagpu.http.filters import read_filters
from llamagpu.http.pagination import PAGE_SCHEMA, page_response
from llamagpu.http.permissions import READ_SYSTEM, WRITE_SYSTEM


class UsersView(APIView):
    """GET and POST /api/users"""

    access = {"GET": READ_SYSTEM, "POST": WRITE_SYSTEM}

    @extend_schema(
        operation_id="list_users",
        parameters=[UserFilters, *PAGE_SCHEMA],
        responses=USERS,
    )
    def get(self, request: Request) -> Response:
        filters = read_filters(request, UserFilters)
        users = User.objects.visible_to(request.user).select_related("role")
        return page_response(request, filtered(users, filters), shape_user, ordering=["id"])

    @extend_schema(
        operation_id="create_user",
        request=NewUserSerializer,
        responses={201: USER},
    )
    def post(self, request: Request) -> Response:
        body = NewUserSerializer(data=request.data)
        body.is_valid(raise_exception=True)
        user = create_user(actor=caller_of(request), **body.validated_data)
        return Response({"success": True, "user": shape_user(user)}, status=201)


class UserView(APIView):
    """GET, PATCH and DELETE /api/users/{id}"""

    access = {"GET": READ_SYSTEM, "PATCH": WRITE_SYSTEM, "DELETE": WRITE_SYSTEM}

    @extend_schema(operation_id="read_user", responses=USER)
    def get(self, request: Request, pk: int) -> Response:
        return Response({"success": True, "user": shape_user(_find(request, pk))})

    @extend_schema(operation_id="change_user", request=UserChangeSerializer, responses=USER)
    def patch(self, request: Request, pk: int) -> Response:
        user = _find(request, pk)
        body = UserChangeSerializer(data=request.data)
        body.is_valid(raise_exception=True)
        user = change_user(actor=caller_of(request), user=user, **body.validated_data)
        return Response({"success": True, "user": shape_user(user)})

    @extend_schema(operation_id="delete_user", responses={204: None})
    def delete(self, request: Request, pk: int) -> Response:
        delete_user(actor=caller_of(request), user=_find(request, pk))
        return Response(status=204)


def shape_user(user: User) -> dict[str, Any]:
    """A user as the API shows it."""
    return {
        "id": user.pk,
        "username": user.username,
        "role": user.role.slug,
        "email": user.email,
        "first_name": user.first_name,
        "last_name": user.last_name,
        "is_active": user.is_active,
        "retention": user.retention or None,
        "created_at": user.date_joined.isoformat(),
        "last_login_at": user.last_login.isoformat() if user.last_login else None,
    }


def filtered(users: UserQuerySet, filters: dict[str, Any]) -> UserQuerySet:
    """Those for which all of `filters` hold."""
    if "role" in filters:
        users = users.filter(role__slug=filters["role"])
    if "is_active" in filters:
        users = users.filter(is_active=filters["is_active"])
    if "q" in filters:
        found = Q()
        for field in ("username", "email", "first_name", "last_name"):
            found |= Q(**{f"{field}__icontains": filters["q"]})
        users = users.filter(found)
    return users


def _find(request: Request, pk: int) -> User:
    users = User.objects.visible_to(request.user).select_related("role")
    user = users.filter(pk=pk).first()
    if user is None:
        raise NotFound("There is no such user.")
    return user
