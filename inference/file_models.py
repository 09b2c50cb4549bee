"""Tables of files that callers keep here, and of the batches that are read from such files."""

from __future__ import annotations

import uuid

from django.conf import settings
from django.db import models
from django.utils import timezone

from inference.file_querysets import FileBatchQuerySet, StoredFileQuerySet
from inference.states import FileBatchState


class StoredFile(models.Model):
    """One file. Its bytes lie in the data directory under its id; `filename` is only shown."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    owner = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="stored_files"
    )
    purpose = models.CharField(max_length=16, help_text="batch: an input, batch_output: a result")
    filename = models.CharField(max_length=255)
    num_bytes = models.BigIntegerField()
    sha256 = models.CharField(max_length=64)
    created_at = models.DateTimeField(default=timezone.now, editable=False)
    expires_at = models.DateTimeField(null=True, db_index=True, help_text="when it is removed")

    objects = StoredFileQuerySet.as_manager()

    class Meta:
        ordering = ["-created_at"]
        indexes = [models.Index(fields=["owner", "-created_at"], name="file_owner_created")]

    def __str__(self) -> str:
        return f"file-{self.pk.hex}"


class FileBatch(models.Model):
    """What a file's lines are asked to become. Its lines' own rows last only until they are written.

    `input_offset` and `input_line` say how far the input was taken up, `num_fed` into how many lines;
    `num_written` of these stand in the files to be, which hold `output_bytes` and `error_bytes`.
    """

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    owner = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="file_batches"
    )
    api_key = models.ForeignKey(
        "accounts.ApiKey", null=True, on_delete=models.SET_NULL, related_name="+"
    )
    is_by_key = models.BooleanField(help_text="asked for with a key: it ends with that key")
    call = models.OneToOneField(
        "inference.IdempotentCall", null=True, on_delete=models.SET_NULL, related_name="file_batch"
    )
    request_id = models.CharField(max_length=64)
    endpoint = models.CharField(max_length=64)
    # Not checked by the database: a file may be deleted, and its batch still tells its id.
    input_file = models.ForeignKey(
        StoredFile, on_delete=models.DO_NOTHING, db_constraint=False, related_name="+"
    )
    output_file_id = models.UUIDField(null=True)
    error_file_id = models.UUIDField(null=True)
    metadata = models.JSONField(null=True)

    state = models.CharField(
        max_length=16,
        default=FileBatchState.VALIDATING.value,
        choices=[(state.value, state.value) for state in FileBatchState],
    )
    ending = models.CharField(
        max_length=16, blank=True, help_text="how it shall end, where that is before its last line"
    )
    entered = models.JSONField(default=dict, help_text="seconds since 1970 by state")
    errors = models.JSONField(default=list, help_text="code, message, param and line of each")
    created_at = models.DateTimeField(default=timezone.now, editable=False)
    expires_at = models.DateTimeField()

    num_lines = models.PositiveIntegerField(default=0)
    num_completed = models.PositiveIntegerField(default=0)
    num_failed = models.PositiveIntegerField(default=0)
    input_offset = models.BigIntegerField(default=0)
    input_line = models.PositiveIntegerField(default=0)
    num_fed = models.PositiveIntegerField(default=0)
    num_written = models.PositiveIntegerField(default=0)
    output_bytes = models.BigIntegerField(default=0)
    error_bytes = models.BigIntegerField(default=0)

    objects = FileBatchQuerySet.as_manager()

    class Meta:
        ordering = ["-created_at"]
        verbose_name_plural = "file batches"
        indexes = [
            models.Index(fields=["owner", "-created_at"], name="filebatch_owner_created"),
            models.Index(fields=["state", "created_at"], name="filebatch_state_created"),
        ]

    def __str__(self) -> str:
        return f"batch_{self.pk.hex}"


class BatchLine(models.Model):
    """A line that was taken up and is not yet written. `result` is what will be written, once known."""

    batch = models.ForeignKey(FileBatch, on_delete=models.CASCADE, related_name="lines")
    position = models.PositiveIntegerField(help_text="place among the batch's lines, from 0")
    offset = models.BigIntegerField(help_text="where its bytes begin in the input")
    num_jobs = models.PositiveSmallIntegerField(default=0)
    result = models.TextField(blank=True)
    is_failed = models.BooleanField(default=False)

    class Meta:
        ordering = ["position"]
        constraints = [
            models.UniqueConstraint(fields=["batch", "position"], name="one_line_a_position"),
        ]

    def __str__(self) -> str:
        return f"line {self.position} of {self.batch_id}"


class LineJob(models.Model):
    """A job of a line; a line with several prompts has several, in the order of `place`."""

    line = models.ForeignKey(BatchLine, on_delete=models.CASCADE, related_name="line_jobs")
    place = models.PositiveSmallIntegerField()
    job = models.OneToOneField(
        "inference.InferenceJob", on_delete=models.CASCADE, related_name="line_job"
    )

    class Meta:
        ordering = ["place"]

    def __str__(self) -> str:
        return f"job {self.job_id} of line {self.line_id}"
