"""Writes of conversations: kept, changed, forgotten. Their owner's retention policy decides first."""

from __future__ import annotations

import uuid
from dataclasses import dataclass, field
from typing import Any

from django.db import transaction
from django.db.models import F
from django.utils import timezone

from accounts.models import User
from accounts.retention import retention_of
from inference.models import Conversation
from llamagpu.http.errors import AppError
from llamagpu.lib.error_codes import ErrorCode

#: The most that one person keeps.
MAX_CONVERSATIONS = 1000
_UNTITLED = "New conversation"


@dataclass(frozen=True, slots=True)
class Content:
    """All that a conversation holds, as its page has it."""

    title: str = ""
    model: str = ""
    settings: dict[str, Any] = field(default_factory=dict)
    messages: list[dict[str, Any]] = field(default_factory=list)

    def columns(self) -> dict[str, Any]:
        return {
            "title": self.title or _UNTITLED,
            "model": self.model,
            "settings": self.settings,
            "messages": self.messages,
            "num_messages": len(self.messages),
        }


def keeps_conversations(user: Any) -> bool:
    """Whether the user's retention policy lets texts be kept at all."""
    return retention_of(user.retention, "").kind in ("days", "full")


def begin_conversation(*, owner: Any, content: Content) -> Conversation:
    """Raises AppError CONFLICT where nothing may be kept, or there is no room for another one."""
    if not keeps_conversations(owner):
        raise AppError(ErrorCode.CONFLICT, "Your retention policy keeps no texts.")
    with transaction.atomic():
        # Two pages at once must not both take the last place.
        list(User.objects.select_for_update(no_key=True).filter(pk=owner.pk).values("pk"))
        if Conversation.objects.filter(owner=owner).count() >= MAX_CONVERSATIONS:
            raise AppError(
                ErrorCode.CONFLICT,
                f"You keep {MAX_CONVERSATIONS} conversations already: delete some first.",
            )
        return Conversation.objects.create(owner=owner, **content.columns())


def change_conversation(*, row: Conversation, version: int, content: Content) -> Conversation:
    """Put `content` in the place of what `version` held. Raises AppError CONFLICT for an older one."""
    changed = Conversation.objects.filter(pk=row.pk, version=version).update(
        **content.columns(), version=F("version") + 1, updated_at=timezone.now()
    )
    if not changed:
        raise AppError(
            ErrorCode.CONFLICT, "The conversation was changed elsewhere: load it again first."
        )
    return Conversation.objects.get(pk=row.pk)


def forget_conversation(row: Conversation) -> None:
    row.delete()


def forget_all(owner: Any) -> int:
    """How many it was."""
    return Conversation.objects.filter(owner=owner).delete()[0]


def remove_outlived(limit: int = 1000) -> int:
    """Remove what is older than its owner's policy lets it be; how many it was."""
    now, removed = timezone.now(), 0
    policies = Conversation.objects.order_by().values_list("owner__retention", flat=True).distinct()
    for policy in list(policies):
        period = retention_of(policy, "").period
        if period is None:
            continue
        due: list[uuid.UUID] = list(
            Conversation.objects.filter(
                owner__retention=policy, updated_at__lt=now - period
            ).values_list("pk", flat=True)[: limit - removed]
        )
        removed += Conversation.objects.filter(pk__in=due).delete()[0]
    return removed
