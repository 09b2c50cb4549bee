"""The table of conversations that people have in the playground."""

from __future__ import annotations

import uuid
from typing import Any

from django.conf import settings
from django.db import models
from django.utils import timezone


class ConversationQuerySet(models.QuerySet["Conversation"]):
    def visible_to(self, user: Any) -> ConversationQuerySet:
        """One's own alone: they are nothing but words."""
        return self.filter(owner=user)

    def headings(self) -> ConversationQuerySet:
        """Without what was said."""
        return self.defer("messages", "settings")


class Conversation(models.Model):
    """What its owner said and was told, as the page showed it.

    `messages` are turns `{role, content, model?, job_id?}`, `settings` the page's parameters. `version`
    rises with each writing, so that two open pages do not overwrite each other unseen.
    """

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    owner = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="conversations"
    )
    title = models.CharField(max_length=120)
    model = models.CharField(max_length=128, blank=True, help_text="slug; the model may be gone")
    settings = models.JSONField(default=dict)
    messages = models.JSONField(default=list)
    num_messages = models.PositiveIntegerField(default=0)
    version = models.PositiveIntegerField(default=1)
    created_at = models.DateTimeField(default=timezone.now, editable=False)
    updated_at = models.DateTimeField(default=timezone.now)

    objects = ConversationQuerySet.as_manager()

    class Meta:
        ordering = ["-updated_at"]
        indexes = [models.Index(fields=["owner", "-updated_at"], name="conversation_owner_updated")]

    def __str__(self) -> str:
        return f"conversation {self.pk}"
