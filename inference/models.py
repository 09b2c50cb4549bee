"""Tables of what is served and what was asked of it."""

from __future__ import annotations

import uuid

from django.conf import settings
from django.db import models
from django.utils import timezone

from inference.querysets import InferenceJobQuerySet, ModelQuerySet
from inference.states import JobState, ModelState


class Model(models.Model):
    """A model that this installation knows. `path` is under the model root.

    Whether it is loaded is not kept here: workers report it while they live (`inference.presence`).
    """

    slug = models.CharField(max_length=128, unique=True)
    source = models.CharField(max_length=255, help_text="where it came from, e.g. path:smollm2")
    revision = models.CharField(max_length=64, blank=True)
    path = models.CharField(max_length=512)
    state = models.CharField(
        max_length=16,
        default=ModelState.AVAILABLE.value,
        choices=[(state.value, state.value) for state in (ModelState.ABSENT, ModelState.AVAILABLE)],
    )
    architecture = models.CharField(max_length=64)
    format = models.CharField(max_length=16, default="safetensors")
    stored_dtype = models.CharField(max_length=16)
    num_parameters = models.BigIntegerField()
    weight_bytes = models.BigIntegerField()
    context_length = models.IntegerField()
    vocab_size = models.IntegerField()
    sha256 = models.CharField(max_length=64, blank=True)
    created_at = models.DateTimeField(default=timezone.now, editable=False)
    updated_at = models.DateTimeField(auto_now=True)

    objects = ModelQuerySet.as_manager()

    class Meta:
        ordering = ["slug"]

    def __str__(self) -> str:
        return self.slug


class InferenceJob(models.Model):
    """The durable row of one inference: the truth about it, whatever Redis loses or repeats."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    owner = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="inference_jobs"
    )
    api_key = models.ForeignKey(
        "accounts.ApiKey", null=True, on_delete=models.SET_NULL, related_name="+"
    )
    model = models.ForeignKey(Model, on_delete=models.PROTECT, related_name="jobs")
    request_id = models.CharField(max_length=64, db_index=True)
    is_streamed = models.BooleanField(default=False)
    state = models.CharField(
        max_length=16,
        default=JobState.QUEUED.value,
        choices=[(state.value, state.value) for state in JobState],
    )
    attempt = models.PositiveSmallIntegerField(default=1)
    priority = models.SmallIntegerField(default=0)
    prompt = models.JSONField()
    params = models.JSONField()
    worker = models.CharField(max_length=128, blank=True)
    backend = models.CharField(max_length=16, blank=True)

    created_at = models.DateTimeField(default=timezone.now, editable=False)
    deadline_at = models.DateTimeField()
    started_at = models.DateTimeField(null=True)
    finished_at = models.DateTimeField(null=True)

    prompt_tokens = models.IntegerField(default=0)
    completion_tokens = models.IntegerField(default=0)
    cached_tokens = models.IntegerField(default=0)
    queue_time = models.FloatField(null=True, help_text="seconds before the engine began")
    ttft = models.FloatField(null=True, help_text="seconds to the first token, in the engine")
    inference_time = models.FloatField(null=True, help_text="seconds in the engine")
    output = models.TextField(blank=True)
    finish_reason = models.CharField(max_length=16, blank=True)
    error_code = models.CharField(max_length=32, blank=True)
    error_message = models.CharField(max_length=500, blank=True)

    objects = InferenceJobQuerySet.as_manager()

    class Meta:
        ordering = ["-created_at"]
        indexes = [
            models.Index(fields=["state", "created_at"], name="job_state_created"),
            models.Index(fields=["owner", "-created_at"], name="job_owner_created"),
        ]

    def __str__(self) -> str:
        return f"{self.id} {self.state}"
