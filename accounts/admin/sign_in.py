"""Failed sign-ins, second factors and single sign-on in Django admin. Secrets are never shown.

The pages that django-axes and django-otp bring are replaced: theirs write without an audit row.
"""

from __future__ import annotations

from typing import Any

from axes.models import AccessAttempt, AccessFailureLog, AccessLog
from django.contrib import admin
from django.http import HttpRequest
from django_otp.plugins.otp_totp.models import TOTPDevice

from accounts.models import RecoveryCode, SsoIdentity
from accounts.services.unlocking import forget_failures
from llamagpu.http.model_admin import ReadOnlyModelAdmin

for _model in (AccessAttempt, AccessFailureLog, AccessLog, TOTPDevice):
    if admin.site.is_registered(_model):
        admin.site.unregister(_model)


@admin.register(AccessAttempt)
class AccessAttemptAdmin(ReadOnlyModelAdmin):
    """Failed sign-ins that still count, by name and address."""

    list_display = ["username", "ip_address", "failures_since_start", "attempt_time"]
    search_fields = ["username", "ip_address"]
    list_filter = ["attempt_time"]
    fields = ["username", "ip_address", "user_agent", "failures_since_start", "attempt_time"]
    actions = ["unlock"]

    def has_unlock_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("axes.change_accessattempt")

    @admin.action(description="Forget the selected failures (unlock)", permissions=["unlock"])
    def unlock(self, request: HttpRequest, attempts: Any) -> None:
        actor: Any = request.user
        self.act_on_each(
            request,
            attempts,
            lambda attempt: forget_failures(actor=actor, attempt=attempt),
            "unlocked",
        )


@admin.register(TOTPDevice)
class TOTPDeviceAdmin(ReadOnlyModelAdmin):
    """Who has an authenticator app. The users' list can reset it."""

    list_display = ["user", "name", "confirmed", "last_used_at", "created_at"]
    list_filter = ["confirmed"]
    search_fields = ["user__username"]
    list_select_related = ["user"]
    fields = ["user", "name", "confirmed", "last_used_at", "created_at"]
    actions = None


@admin.register(RecoveryCode)
class RecoveryCodeAdmin(ReadOnlyModelAdmin):
    """How many codes somebody has left; the codes themselves are not kept."""

    list_display = ["user", "created_at", "used_at"]
    list_filter = ["created_at", "used_at"]
    search_fields = ["user__username"]
    list_select_related = ["user"]
    fields = ["user", "created_at", "used_at"]
    actions = None


@admin.register(SsoIdentity)
class SsoIdentityAdmin(ReadOnlyModelAdmin):
    """Which account belongs to whom at the single sign-on provider."""

    list_display = ["user", "issuer", "subject", "created_at", "last_used_at"]
    list_filter = ["issuer", "last_used_at"]
    search_fields = ["user__username", "subject", "issuer"]
    list_select_related = ["user"]
    actions = None
