"""Django admin as part of the portal: same sign-in, same roles, same errors."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlencode

from django.conf import settings
from django.contrib.admin import AdminSite
from django.contrib.admin.apps import AdminConfig
from django.contrib.auth import REDIRECT_FIELD_NAME
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import resolve_url
from django.urls import reverse
from django.utils.http import url_has_allowed_host_and_scheme

# Labels of apps that are no apps to people: how one signs in belongs to the account.
_WITH_ACCOUNTS = ("axes", "otp_totp")


class PortalAdminSite(AdminSite):
    """Opens for who may read the system configuration (`User.is_staff`); signs nobody in itself."""

    site_header = site_title = "LLaMA GPU administration"
    index_title = "Administration"
    empty_value_display = "-"

    def login(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """To the portal's sign-in page; raises PermissionDenied for who is signed in without the right."""
        if request.user.is_authenticated and not self.has_permission(request):
            raise PermissionDenied
        target = request.GET.get(REDIRECT_FIELD_NAME, "")
        if not url_has_allowed_host_and_scheme(target, {request.get_host()}, request.is_secure()):
            target = reverse("admin:index", current_app=self.name)
        if self.has_permission(request):
            return HttpResponseRedirect(target)
        query = urlencode({REDIRECT_FIELD_NAME: target})
        return HttpResponseRedirect(f"{resolve_url(settings.LOGIN_URL)}?{query}")

    def logout(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> Any:
        """The portal signs out: its page writes the audit row."""
        return HttpResponseRedirect(reverse("home"))

    def password_change(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> Any:
        return HttpResponseRedirect(reverse("password-change"))

    def get_app_list(self, request: HttpRequest, app_label: str | None = None) -> Any:
        """The tables by app; those of sign-in libraries stand with our own accounts."""
        if app_label is not None:
            return super().get_app_list(request, app_label)
        apps = {app["app_label"]: app for app in super().get_app_list(request)}
        for label in _WITH_ACCOUNTS:
            moved = apps.pop(label, None)
            if moved is not None and "accounts" in apps:
                apps["accounts"]["models"] += moved["models"]
        if "accounts" in apps:
            apps["accounts"]["models"].sort(key=lambda table: str(table["name"]).lower())
        return list(apps.values())


class PortalAdminConfig(AdminConfig):
    """Stands in INSTALLED_APPS in place of `django.contrib.admin`."""

    default_site = "llamagpu.admin_site.PortalAdminSite"
