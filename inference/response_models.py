"""The table of stored responses: what `/v1/responses` must know of a job beyond its row."""

from __future__ import annotations

from typing import Any

from django.db import models


class StoredResponseQuerySet(models.QuerySet["StoredResponse"]):
    def visible_to(self, user: Any) -> StoredResponseQuerySet:
        """One's own alone: they are nothing but words."""
        return self.filter(job__owner=user)

    def allowed_by(self, key: Any) -> StoredResponseQuerySet:
        """Narrowed to the models that `key` lists; not narrowed by a session (None) or an open key."""
        if key is None or not key.allowed_models:
            return self
        return self.filter(job__model__slug__in=key.allowed_models)


class StoredResponse(models.Model):
    """A call of `/v1/responses` whose answer may be read again and gone on from.

    Prompt and answer are the job's, and this row goes with them. `settings` are the fields of the call
    that its answer repeats, `tool_use` how functions were to be called.
    """

    job = models.OneToOneField(
        "inference.InferenceJob",
        primary_key=True,
        on_delete=models.CASCADE,
        related_name="stored_response",
    )
    settings = models.JSONField()
    tool_use = models.JSONField()

    objects = StoredResponseQuerySet.as_manager()

    def __str__(self) -> str:
        return f"response of {self.job_id}"
