"""Bodies and filters of users and roles. Services judge the values; here their form is checked."""

from __future__ import annotations

from typing import Any

from rest_framework import serializers

from llamagpu.http.fields import FlagField, StrictSerializer, TextField
from llamagpu.http.schema_words import asked

_MAX_PASSWORD = 4096


@asked({"email": "ada@example.org", "first_name": "Ada"})
class ProfileSerializer(StrictSerializer):
    """What everybody may change about themselves."""

    email = TextField(required=False, allow_blank=True, max_length=254)
    first_name = TextField(required=False, allow_blank=True, max_length=150)
    last_name = TextField(required=False, allow_blank=True, max_length=150)


@asked({"username": "ada", "password": "a long and secret one", "role": "user"})
class NewUserSerializer(ProfileSerializer):
    """Body of POST /api/users."""

    username = TextField(max_length=150)
    password = TextField(max_length=_MAX_PASSWORD)
    role = TextField(max_length=32)


@asked({"role": "operator", "retention": "30d"})
class UserChangeSerializer(ProfileSerializer):
    """Body of PATCH /api/users/{id}."""

    role = TextField(required=False, max_length=32)
    is_active = FlagField(required=False)
    retention = TextField(required=False, allow_blank=True, max_length=8)
    password = TextField(required=False, max_length=_MAX_PASSWORD)


class UserFilters(StrictSerializer):
    """Filters of GET /api/users; `q` is looked for in names and addresses."""

    q = serializers.CharField(required=False, max_length=150)
    role = serializers.CharField(required=False, max_length=32)
    is_active = serializers.BooleanField(required=False)


class RightsField(serializers.DictField):
    """`{"models": "RW", ...}`; which resources and rights there are is the service's to say."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(child=TextField(allow_blank=True, max_length=8), **kwargs)


@asked({"description": "May use models.", "rights": {"inference": "RW"}})
class RoleChangeSerializer(StrictSerializer):
    """Body of PATCH /api/roles/{slug}."""

    name = TextField(required=False, max_length=64)
    description = TextField(required=False, allow_blank=True, max_length=200)
    rights = RightsField(required=False)


@asked({"slug": "tester", "name": "Tester", "rights": {"inference": "RW", "models": "R"}})
class NewRoleSerializer(RoleChangeSerializer):
    """Body of POST /api/roles."""

    slug = TextField(max_length=32)
    name = TextField(max_length=64)


class NoFilters(StrictSerializer):
    """A list that takes cursor and limit alone."""
