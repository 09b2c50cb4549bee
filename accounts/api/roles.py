"""Edges of roles and the permission matrix: `/api/roles`, `/api/roles/{slug}`."""

from __future__ import annotations

from typing import Any

from drf_spectacular.utils import extend_schema
from rest_framework.exceptions import NotFound
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from accounts.api.answer_schemas import ROLE, ROLES
from accounts.api.caller import caller_of
from accounts.api.serializers import NewRoleSerializer, NoFilters, RoleChangeSerializer
from accounts.models import Role
from accounts.rights import rights_of
from accounts.services.roles import change_role, create_role, delete_role
from llamagpu.http.filters import read_filters
from llamagpu.http.pagination import PAGE_SCHEMA, page_response
from llamagpu.http.permissions import READ_SYSTEM, WRITE_SYSTEM


class RolesView(APIView):
    """GET and POST /api/roles"""

    access = {"GET": READ_SYSTEM, "POST": WRITE_SYSTEM}

    @extend_schema(operation_id="list_roles", parameters=PAGE_SCHEMA, responses=ROLES)
    def get(self, request: Request) -> Response:
        read_filters(request, NoFilters)
        roles = Role.objects.visible_to(request.user).with_matrix()
        return page_response(request, roles, shape_role, ordering=["id"])

    @extend_schema(
        operation_id="create_role",
        request=NewRoleSerializer,
        responses={201: ROLE},
    )
    def post(self, request: Request) -> Response:
        body = NewRoleSerializer(data=request.data)
        body.is_valid(raise_exception=True)
        role = create_role(actor=caller_of(request), **body.validated_data)
        return Response({"success": True, "role": shape_role(role)}, status=201)


class RoleView(APIView):
    """GET, PATCH and DELETE /api/roles/{slug}"""

    access = {"GET": READ_SYSTEM, "PATCH": WRITE_SYSTEM, "DELETE": WRITE_SYSTEM}

    @extend_schema(operation_id="read_role", responses=ROLE)
    def get(self, request: Request, slug: str) -> Response:
        return Response({"success": True, "role": shape_role(_find(request, slug))})

    @extend_schema(operation_id="change_role", request=RoleChangeSerializer, responses=ROLE)
    def patch(self, request: Request, slug: str) -> Response:
        role = _find(request, slug)
        body = RoleChangeSerializer(data=request.data)
        body.is_valid(raise_exception=True)
        change_role(actor=caller_of(request), role=role, **body.validated_data)
        return Response({"success": True, "role": shape_role(_find(request, slug))})

    @extend_schema(operation_id="delete_role", responses={204: None})
    def delete(self, request: Request, slug: str) -> Response:
        delete_role(actor=caller_of(request), role=_find(request, slug))
        return Response(status=204)


def shape_role(role: Role) -> dict[str, Any]:
    """A role as the API shows it; `rights` is its row of the matrix."""
    return {
        "slug": role.slug,
        "name": role.name,
        "description": role.description,
        "is_builtin": role.is_builtin,
        "rights": rights_of(role),
        "num_users": getattr(role, "num_users", 0),
    }


def _find(request: Request, slug: str) -> Role:
    roles = Role.objects.visible_to(request.user).with_matrix()
    role = roles.filter(slug=slug).first()
    if role is None:
        raise NotFound("There is no such role.")
    return role
