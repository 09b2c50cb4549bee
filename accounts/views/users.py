"""The page of users. What changes them goes through the API, with its checks and its audit."""

from __future__ import annotations

from typing import Any

from django.db.models import Count, Q
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from rest_framework.exceptions import ValidationError
from rest_framework.request import Request

from accounts.api.serializers import UserFilters
from accounts.api.users import filtered
from accounts.models import Role, User
from accounts.views.caller import caller
from llamagpu.http.pages import PageView
from llamagpu.http.pagination import CursorPages
from llamagpu.http.permissions import READ_SYSTEM, Action, Resource


class UsersPage(PageView):
    """GET /users"""

    access = READ_SYSTEM
    http_method_names = ["get", "head", "options"]

    def get(self, request: HttpRequest) -> HttpResponse:
        person = caller(request)
        given = {
            name: text
            for name in ("q", "role", "is_active")
            if (text := request.GET.get(name, "").strip().replace("\0", ""))
        }
        checked = UserFilters(data=given)
        users: Any = (
            User.objects.visible_to(person)
            .select_related("role")
            .annotate(num_keys=Count("api_keys", filter=Q(api_keys__revoked_at=None)))
        )
        users = filtered(users, checked.validated_data) if checked.is_valid() else users.none()
        pages: Any = CursorPages(["id"])
        problems = [f"{name}: {found[0]}" for name, found in checked.errors.items()]
        try:
            page = pages.paginate_queryset(users, Request(request))
        except ValidationError as error:
            page, problems = [], [*problems, f"{next(iter(error.detail))}: is not of this list"]
        context = {
            "users": page,
            "next": pages.get_next_link() if page else None,
            "previous": pages.get_previous_link() if page else None,
            "roles": Role.objects.visible_to(person).order_by("id"),
            "values": given,
            "problems": problems,
            "may_write": person.can(Resource.SYSTEM_CONFIG, Action.WRITE),
        }
        return render(request, "accounts/users.html", context, status=400 if problems else 200)
