"""The page of limits: those of the roles side by side, and who has others of their own."""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render

from accounts.limit_subjects import LIMIT_NAMES, SubjectKind, settable_limits, subject_of
from accounts.models import LimitPolicy, Role
from accounts.views.caller import caller
from llamagpu.http.pages import PageView
from llamagpu.http.permissions import READ_SYSTEM, Action, Resource

_MAX_SUBJECTS = 500


class LimitsPage(PageView):
    """GET /limits: each cell is written through `PUT /api/limits/{subject}`."""

    access = READ_SYSTEM
    http_method_names = ["get", "head", "options"]

    def get(self, request: HttpRequest) -> HttpResponse:
        person = caller(request)
        rows = LimitPolicy.objects.visible_to(person).with_subjects()
        policies = {subject_of(row): row for row in rows[: _MAX_SUBJECTS + 1]}
        roles = Role.objects.visible_to(person).order_by("id")
        context = {
            "roles": [
                _subject(SubjectKind.ROLE, f"role:{role.slug}", role.name, policies)
                for role in roles
            ],
            "names": [(name, words_of(name)) for name in LIMIT_NAMES],
            "others": [
                _subject(SubjectKind(subject.partition(":")[0]), subject, subject, policies)
                for subject in policies
                if not subject.startswith("role:")
            ],
            "kinds": [
                (kind.value, ",".join(settable_limits(kind)))
                for kind in SubjectKind
                if kind is not SubjectKind.ROLE
            ],
            "may_write": person.can(Resource.SYSTEM_CONFIG, Action.WRITE),
        }
        return render(request, "accounts/limits.html", context)


def words_of(name: str) -> str:
    """A limit as the pages call it."""
    words = str(LimitPolicy._meta.get_field(name).help_text)  # type: ignore[union-attr]
    return words[:1].upper() + words[1:]


def _subject(
    kind: SubjectKind, subject: str, title: str, policies: dict[str, LimitPolicy]
) -> dict[str, Any]:
    policy = policies.get(subject)
    values = [
        {"name": name, "words": words_of(name), "value": getattr(policy, name, None)}
        for name in settable_limits(kind)
    ]
    return {
        "subject": subject,
        "title": title,
        "limits": values,
        "own": [limit for limit in values if limit["value"] is not None],
    }
