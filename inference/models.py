"""Tables of what is served and what was asked of it."""

from __future__ import annotations

import uuid

from django.conf import settings
from django.core.validators import MinValueValidator
from django.db import models
from django.utils import timezone

from inference.querysets import InferenceJobQuerySet, ModelQuerySet
from inference.states import (
    STORED_MODEL_STATES,
    AttemptCause,
    DesiredState,
    JobKind,
    JobState,
    ModelState,
)

#: As `keep_alive`: never unloaded for want of requests.
FOR_EVER = -1
#: As `format`: it has no files here, its `upstream` computes it.
REMOTE_FORMAT = "remote"


class Model(models.Model):
    """A model that this installation knows. `path` is under the model root.

    Whether it is loaded is not kept here: workers report it while they live (`inference.presence`).
    Whether it shall be is: `inference.model_control` writes it, workers follow it.
    """

    slug = models.CharField(max_length=128, unique=True)
    source = models.CharField(max_length=255, help_text="where it came from, e.g. path:smollm2")
    revision = models.CharField(max_length=64, blank=True)
    path = models.CharField(max_length=512)
    state = models.CharField(
        max_length=16,
        default=ModelState.AVAILABLE.value,
        choices=[(state.value, state.value) for state in STORED_MODEL_STATES],
    )
    architecture = models.CharField(max_length=64)
    format = models.CharField(max_length=16, default="safetensors")
    stored_dtype = models.CharField(max_length=16)
    num_parameters = models.BigIntegerField()
    weight_bytes = models.BigIntegerField()
    context_length = models.IntegerField()
    vocab_size = models.IntegerField()
    sha256 = models.CharField(max_length=64, blank=True)
    pull_error = models.CharField(
        max_length=500, blank=True, editable=False, help_text="why the last pull did not succeed"
    )

    is_enabled = models.BooleanField(default=True, help_text="a disabled model is not served")
    is_pinned = models.BooleanField(
        default=False, help_text="stays loaded, however long nobody asks for it"
    )
    keep_alive = models.IntegerField(
        null=True,
        blank=True,
        validators=[MinValueValidator(FOR_EVER)],
        help_text="seconds without a request after which it is unloaded; -1: never; "
        "empty: never where it was loaded by hand, else LLAMA_KEEP_ALIVE",
    )
    replicas = models.PositiveSmallIntegerField(
        null=True,
        blank=True,
        validators=[MinValueValidator(1)],
        help_text="workers that hold it; empty: every one that is asked to",
    )
    max_model_len = models.PositiveIntegerField(
        null=True,
        blank=True,
        validators=[MinValueValidator(1)],
        help_text="tokens that prompt and answer may fill together; empty: LLAMA_MAX_MODEL_LEN",
    )
    max_running = models.PositiveSmallIntegerField(
        null=True,
        blank=True,
        validators=[MinValueValidator(1)],
        help_text="requests that one engine of it runs at once; empty: LLAMA_NUM_SLOTS",
    )
    max_new_tokens = models.PositiveIntegerField(
        null=True,
        blank=True,
        validators=[MinValueValidator(1)],
        help_text="highest max_tokens of a request; empty: LLAMA_MAX_NEW_TOKENS",
    )
    desired_state = models.CharField(
        max_length=16,
        default=DesiredState.AUTOMATIC.value,
        editable=False,
        choices=[(state.value, state.value) for state in DesiredState],
    )
    load_options = models.JSONField(default=dict, editable=False)
    generation = models.PositiveIntegerField(
        default=0, editable=False, help_text="raised to have the engines of before end"
    )

    created_at = models.DateTimeField(default=timezone.now, editable=False)
    updated_at = models.DateTimeField(auto_now=True)

    objects = ModelQuerySet.as_manager()

    class Meta:
        ordering = ["slug"]
        constraints = [
            models.CheckConstraint(
                condition=models.Q(keep_alive__gte=FOR_EVER), name="keep_alive_or_for_ever"
            ),
        ]

    def __str__(self) -> str:
        return self.slug

    @property
    def is_remote(self) -> bool:
        """Computed by another server, which its `upstream` names."""
        return self.format == REMOTE_FORMAT

    def is_wanted(self, default_slug: str) -> bool:
        """Whether workers load it without being asked by a request, and bring it back."""
        if self.desired_state == DesiredState.AUTOMATIC:
            return self.slug == default_slug
        return self.desired_state == DesiredState.READY

    def idle_limit(self, default_slug: str, default_seconds: int) -> int | None:
        """Seconds without a request after which workers unload it; None: never."""
        if self.is_pinned or (self.slug == default_slug and self.is_wanted(default_slug)):
            return None
        seconds = self.keep_alive
        if seconds is None:
            seconds = FOR_EVER if self.desired_state == DesiredState.READY else default_seconds
        return None if seconds == FOR_EVER else seconds


class IdempotentCall(models.Model):
    """An `Idempotency-Key` that its owner has used, written with the job that it names.

    `fingerprint` is that of the request's body; `part` counts the jobs of a call that makes several.
    """

    owner = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="idempotent_calls"
    )
    key = models.CharField(max_length=255)
    part = models.PositiveSmallIntegerField(default=0)
    fingerprint = models.CharField(max_length=64)
    created_at = models.DateTimeField(default=timezone.now, db_index=True, editable=False)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["owner", "key", "part"], name="one_call_a_key"),
        ]

    def __str__(self) -> str:
        return f"{self.key} of {self.owner}"


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
    end_user = models.CharField(
        max_length=128, blank=True, default="", help_text="whom the caller asked for, in its words"
    )
    is_streamed = models.BooleanField(default=False)
    kind = models.CharField(
        max_length=16,
        default=JobKind.GENERATE.value,
        choices=[(kind.value, kind.value) for kind in JobKind],
    )
    state = models.CharField(
        max_length=16,
        default=JobState.QUEUED.value,
        choices=[(state.value, state.value) for state in JobState],
    )
    attempt = models.PositiveSmallIntegerField(default=1)
    priority = models.SmallIntegerField(default=0)
    prompt = models.JSONField()
    params = models.JSONField()
    reader_grace = models.FloatField(
        null=True, help_text="seconds that it goes on without a reader; empty: it needs none"
    )
    call = models.OneToOneField(
        IdempotentCall, null=True, on_delete=models.SET_NULL, related_name="job"
    )
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
    answer = models.JSONField(
        null=True, help_text="what the answer holds besides its text, as the worker sent it"
    )

    admission_time = models.FloatField(null=True, help_text="seconds from the call to this row")
    reserved_tokens = models.IntegerField(null=True, help_text="set aside at admission")
    load_time = models.FloatField(null=True, help_text="seconds of waiting for a loaded engine")
    engine_wait = models.FloatField(null=True, help_text="seconds in the engine's own queue")
    limits = models.JSONField(null=True, help_text="on tokens and jobs that held at admission")
    plugins = models.JSONField(null=True, help_text="names of those that acted, before and after")

    retention = models.CharField(
        max_length=8, blank=True, help_text="what is kept of prompt and answer, decided at the end"
    )
    content_until = models.DateTimeField(null=True, help_text="when prompt and answer are removed")
    content_removed_at = models.DateTimeField(null=True)
    content_digests = models.JSONField(
        null=True, help_text="SHA-256 of the prompt and the answer that were removed"
    )

    objects = InferenceJobQuerySet.as_manager()

    class Meta:
        ordering = ["-created_at"]
        indexes = [
            models.Index(fields=["state", "created_at"], name="job_state_created"),
            models.Index(fields=["owner", "-created_at"], name="job_owner_created"),
            models.Index(fields=["-created_at"], name="job_created"),
            models.Index(
                fields=["finished_at"],
                name="job_vectors",
                condition=models.Q(kind="embed", answer__isnull=False),
            ),
            models.Index(
                fields=["content_until"],
                name="job_content_until",
                condition=models.Q(content_until__isnull=False),
            ),
        ]

    def __str__(self) -> str:
        return f"{self.id} {self.state}"


class JobAttempt(models.Model):
    """An attempt of a job that needed more than one; `cause` is what ended the one before."""

    job = models.ForeignKey(InferenceJob, on_delete=models.CASCADE, related_name="attempts")
    number = models.PositiveSmallIntegerField()
    worker = models.CharField(max_length=128, blank=True)
    started_at = models.DateTimeField(null=True)
    cause = models.CharField(
        max_length=16,
        blank=True,
        choices=[(cause.value, cause.value) for cause in AttemptCause],
    )

    class Meta:
        ordering = ["number"]
        constraints = [
            models.UniqueConstraint(fields=["job", "number"], name="one_row_an_attempt"),
        ]

    def __str__(self) -> str:
        return f"attempt {self.number} of {self.job_id}"


# Their own file, for its length; they name the tables above.
from inference.batch_models import Batch, BatchItem  # noqa: E402, F401
from inference.conversation_models import Conversation  # noqa: E402, F401
from inference.file_models import BatchLine, FileBatch, LineJob, StoredFile  # noqa: E402, F401
from inference.response_models import StoredResponse  # noqa: E402, F401
from inference.upstream_models import Upstream  # noqa: E402, F401
