"""Tokens used and set aside, in Django admin: read only, they follow from jobs."""

from __future__ import annotations

from django.contrib import admin

from accounts.models import TokenReservation, UsageDay
from llamagpu.http.model_admin import ReadOnlyModelAdmin


@admin.register(UsageDay)
class UsageDayAdmin(ReadOnlyModelAdmin):
    """What was used a day, by user, role, key and model."""

    list_display = [
        "day", "username", "role_slug", "key_prefix", "model_slug", "requests", "failed_requests",
        "prompt_tokens", "completion_tokens", "cached_tokens",
    ]  # fmt: skip
    list_filter = ["role_slug", "model_slug"]
    search_fields = ["username", "key_prefix", "model_slug"]
    date_hierarchy = "day"
    exclude = ["user"]
    actions = None


@admin.register(TokenReservation)
class TokenReservationAdmin(ReadOnlyModelAdmin):
    """What live jobs may still use. A row goes when its job ends."""

    list_display = ["job_id", "user", "api_key", "role_slug", "model_slug", "tokens", "created_at"]
    list_filter = ["role_slug", "model_slug"]
    search_fields = ["job_id", "user__username", "api_key__prefix", "model_slug"]
    list_select_related = ["user", "api_key"]
    actions = None
