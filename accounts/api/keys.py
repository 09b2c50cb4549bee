"""/api/keys: one's own keys; for Admins those of everybody."""

from __future__ import annotations

from datetime import timedelta
from typing import Any, TypedDict, cast

from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from accounts.api.answer_schemas import KEY, KEYS, NEW_KEY
from accounts.api.key_serializers import (
    ChangeKeySerializer,
    CreateKeySerializer,
    KeyFilters,
    RotateKeySerializer,
    checked,
)
from accounts.api_keys import KeyText
from accounts.key_descriptions import describe_key
from accounts.models import ApiKey, User
from accounts.querysets import ApiKeyQuerySet
from accounts.services.api_keys import (
    change_api_key,
    create_api_key,
    revoke_api_key,
    rotate_api_key,
)
from llamagpu.http.errors import AppError
from llamagpu.http.filters import read_filters
from llamagpu.http.pagination import PAGE_SCHEMA, page_response
from llamagpu.http.permissions import OWN_ACCOUNT, Action, Resource
from llamagpu.lib.error_codes import ErrorCode

EVERYBODY = "*"


class KeysView(APIView):
    """GET and POST /api/keys"""

    access = OWN_ACCOUNT

    @extend_schema(
        operation_id="list_keys",
        parameters=[KeyFilters, *PAGE_SCHEMA],
        responses=KEYS,
    )
    def get(self, request: Request) -> Response:
        filters = read_filters(request, KeyFilters)
        keys = _keys_of(request.user, filters.get("user")).with_relatives()
        if "state" in filters:
            keys = keys.in_state(filters["state"])
        return page_response(request, keys, describe_key)

    @extend_schema(
        operation_id="create_key",
        request=CreateKeySerializer,
        responses={201: NEW_KEY},
    )
    def post(self, request: Request) -> Response:
        fields = checked(CreateKeySerializer(data=request.data))
        owner = _find_owner(request.user, fields.pop("user", None))
        made = create_api_key(**_asking(request), user=owner, **fields)
        return _shown_once(*made)


class KeyView(APIView):
    """GET, PATCH and DELETE /api/keys/{prefix or id}"""

    access = OWN_ACCOUNT

    @extend_schema(operation_id="read_key", responses=KEY)
    def get(self, request: Request, reference: str) -> Response:
        return _described(find_api_key(request.user, reference))

    @extend_schema(operation_id="change_key", request=ChangeKeySerializer, responses=KEY)
    def patch(self, request: Request, reference: str) -> Response:
        key = find_api_key(request.user, reference)
        changes = checked(ChangeKeySerializer(data=request.data))
        change_api_key(**_asking(request), key=key, changes=changes)
        return _described(find_api_key(request.user, reference))

    @extend_schema(operation_id="revoke_key", responses={200: KEY})
    def delete(self, request: Request, reference: str) -> Response:
        key = find_api_key(request.user, reference)
        return _described(revoke_api_key(actor=_asking(request)["actor"], key=key))


class RotateKeyView(APIView):
    """POST /api/keys/{prefix or id}/rotate: a new text; the old one goes on for a grace period."""

    access = OWN_ACCOUNT

    @extend_schema(
        operation_id="rotate_key",
        request=RotateKeySerializer,
        responses={201: NEW_KEY},
    )
    def post(self, request: Request, reference: str) -> Response:
        key = find_api_key(request.user, reference)
        fields = checked(RotateKeySerializer(data=request.data))
        grace = timedelta(seconds=fields["grace_seconds"])
        return _shown_once(*rotate_api_key(**_asking(request), key=key, grace=grace))


class _Asking(TypedDict):
    """Who asks, as the services want it: a signed-in user, and the key that carried the request."""

    actor: User
    acting_key: ApiKey | None


def _asking(request: Request) -> _Asking:
    return {"actor": cast(User, request.user), "acting_key": cast("ApiKey | None", request.auth)}


def find_api_key(user: Any, reference: str) -> ApiKey:
    """Raises AppError NOT_FOUND, also for a key of somebody else that `user` may not see."""
    key = ApiKey.objects.visible_to(user).named(reference).with_relatives().first()
    if key is None:
        raise AppError(ErrorCode.NOT_FOUND, "There is no such key.")
    return key


def _keys_of(user: Any, wanted: str | None) -> ApiKeyQuerySet:
    """Without a wish one's own; what one may not see is not there."""
    visible = ApiKey.objects.visible_to(user)
    if wanted == EVERYBODY:
        return visible
    return visible.filter(user__username=wanted) if wanted else visible.filter(user=user)


def _find_owner(user: Any, wanted: str | None) -> User:
    """Whom the new key shall belong to. To others than Admins nobody else exists, nor is missing."""
    if wanted is None or wanted == user.username:
        return user
    if not user.can(Resource.SYSTEM_CONFIG, Action.WRITE):
        raise AppError(ErrorCode.PERMISSION_DENIED, "user: only an Admin makes keys for others")
    owner = User.objects.filter(username=wanted).first()
    if owner is None:
        raise AppError(ErrorCode.INVALID_INPUT, f"user: there is no user '{wanted}'")
    return owner


def _described(key: ApiKey) -> Response:
    return Response({"success": True, "api_key": describe_key(key)})


def _shown_once(key: ApiKey, text: KeyText) -> Response:
    """The only answer that ever holds the plain key, so nobody on the way may keep it."""
    body = {"success": True, "key": str(text), "api_key": describe_key(key)}
    return Response(body, status=201, headers={"Cache-Control": "no-store"})
