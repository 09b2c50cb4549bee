"""The page of roles: the permission matrix, its editing, and what each address needs."""

from __future__ import annotations

from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import render
from django.urls import reverse
from django.utils.translation import gettext, gettext_noop

from accounts.forms.roles import RightsForm
from accounts.matrix import endpoint_rows, matrix_rows
from accounts.models import ADMIN_ROLE, Role
from accounts.services.roles import change_role
from accounts.views.caller import caller
from llamagpu.http.errors import AppError
from llamagpu.http.pages import PageView
from llamagpu.http.permissions import READ_SYSTEM, WRITE_SYSTEM, Action, Resource
from llamagpu.http.refusals import report_denied
from llamagpu.lib.error_codes import ErrorCode


class RolesPage(PageView):
    """GET and POST /roles"""

    access = {"GET": READ_SYSTEM, "POST": WRITE_SYSTEM}

    def get(self, request: HttpRequest) -> HttpResponse:
        user = caller(request)
        roles = list(Role.objects.visible_to(user).with_matrix().order_by("id"))
        may_write = user.can(Resource.SYSTEM_CONFIG, Action.WRITE)
        editable = [role for role in roles if role.slug != ADMIN_ROLE and role.pk != user.role_id]
        calls = endpoint_rows(roles)
        context = {
            "roles": roles,
            "matrix": matrix_rows(roles),
            "forms": [RightsForm(role) for role in editable] if may_write else [],
            "tables": [
                ("API", [call for call in calls if call.is_api]),
                (gettext_noop("Pages"), [call for call in calls if not call.is_api]),
            ],
        }
        return render(request, "accounts/roles.html", context)

    def post(self, request: HttpRequest) -> HttpResponse:
        """Writes the rights of the role that the form names."""
        user = caller(request)
        slug = request.POST.get("role", "").replace("\0", "")
        role = Role.objects.visible_to(user).filter(slug=slug).first()
        if role is None:
            raise Http404
        form = RightsForm(role, request.POST)
        if not form.is_valid():
            messages.error(
                request, gettext("Choose nothing, read, or read and write for each resource.")
            )
            return HttpResponseRedirect(reverse("roles"))
        try:
            role = change_role(actor=user, role=role, rights=form.cleaned_data)
        except AppError as error:
            if error.code is ErrorCode.PERMISSION_DENIED:
                report_denied(request, self, error.message)
            messages.error(request, error.message)
        else:
            words = gettext("The rights of %(name)s hold from the next call on.")
            messages.success(request, words % {"name": role.name})
        return HttpResponseRedirect(reverse("roles"))
