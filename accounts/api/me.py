"""The edge of oneself: `/api/me`."""

from __future__ import annotations

from typing import Any

from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from accounts.api.answer_schemas import ME
from accounts.api.caller import caller_of
from accounts.api.serializers import ProfileSerializer
from accounts.api.users import shape_user
from accounts.models import ApiKey, LimitPolicy, User
from accounts.rights import rights_of
from accounts.services.users import change_user
from llamagpu.http.errors import AppError
from llamagpu.http.permissions import OWN_ACCOUNT, SignedIn
from llamagpu.lib.error_codes import ErrorCode

_OWN_FIELDS = {"email", "first_name", "last_name"}
# Not fields of ours, but what somebody would try who wants more than they have.
_TEMPTING = {
    "is_staff", "is_superuser", "owner", "user", "rights", "permissions", "groups",
    "user_permissions", "quota", "quotas", "limits", "scopes",
}  # fmt: skip
#: What nobody changes about themselves: trying it is refused and noted, not just unknown.
PROTECTED_FIELDS = (
    frozenset(
        {field.name for model in (User, LimitPolicy) for field in model._meta.get_fields()}
        | _TEMPTING
    )
    - _OWN_FIELDS
)


class MeView(APIView):
    """GET and PATCH /api/me"""

    access = {"GET": SignedIn(), "PATCH": OWN_ACCOUNT}

    @extend_schema(operation_id="read_me", responses=ME)
    def get(self, request: Request) -> Response:
        return Response(_answer(request, caller_of(request)))

    @extend_schema(operation_id="change_me", request=ProfileSerializer, responses=ME)
    def patch(self, request: Request) -> Response:
        _refuse_protected(request.data)
        body = ProfileSerializer(data=request.data)
        body.is_valid(raise_exception=True)
        caller = caller_of(request)
        return Response(
            _answer(request, change_user(actor=caller, user=caller, **body.validated_data))
        )


def _refuse_protected(body: Any) -> None:
    tried = sorted(PROTECTED_FIELDS & set(body)) if isinstance(body, dict) else []
    if tried:
        problem = "Nobody changes this about themselves."
        raise AppError(
            ErrorCode.PERMISSION_DENIED,
            f"{tried[0]}: {problem}",
            details=[{"field": name, "message": problem} for name in tried],
        )


def _answer(request: Request, user: User) -> dict[str, Any]:
    return {
        "success": True,
        "user": shape_user(user),
        "rights": rights_of(user.role),
        "key": _shape_key(request.auth),
    }


def _shape_key(key: Any) -> dict[str, Any] | None:
    """The key that this call carries; None for a session."""
    if not isinstance(key, ApiKey):
        return None
    return {
        "prefix": key.prefix,
        "name": key.name,
        "scopes": key.scopes,
        "allowed_models": key.allowed_models,
        "expires_at": key.expires_at.isoformat() if key.expires_at else None,
    }
