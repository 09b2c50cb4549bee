"""The table of upstreams: where a remote model is computed."""

from __future__ import annotations

from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models
from django.utils import timezone

from inference.upstream_querysets import UpstreamQuerySet

#: What an upstream may offer. Chat goes to `/chat/completions`, raw text and token ids to
#: `/completions`; the other ones are parts of what these two may be asked for.
CAPABILITIES = ("chat", "completions", "tools", "json_schema", "logprobs", "embeddings")
DEFAULT_CAPABILITIES = ("chat", "completions", "tools", "json_schema", "logprobs")
DEFAULT_SILENCE = 120
MAX_SILENCE = 1500


def default_capabilities() -> list[str]:
    return list(DEFAULT_CAPABILITIES)


class Upstream(models.Model):
    """A server of OpenAI's API that computes one model. `inference.services.upstreams` writes it.

    Its key is sealed under the installation's secret, and shown to nobody.
    """

    model = models.OneToOneField(
        "inference.Model", on_delete=models.CASCADE, related_name="upstream", editable=False
    )
    base_url = models.CharField(
        max_length=512, help_text="where its API begins: http://host:8000/v1"
    )
    upstream_model = models.CharField(max_length=255, help_text="the model's name there")
    sealed_key = models.TextField(blank=True, editable=False)
    silence = models.PositiveIntegerField(
        default=DEFAULT_SILENCE,
        validators=[MinValueValidator(1), MaxValueValidator(MAX_SILENCE)],
        help_text="seconds that it may send nothing before a request fails",
    )
    capabilities = models.JSONField(
        default=default_capabilities, help_text=f"what it offers, of {', '.join(CAPABILITIES)}"
    )
    created_at = models.DateTimeField(default=timezone.now, editable=False)
    updated_at = models.DateTimeField(auto_now=True)

    objects = UpstreamQuerySet.as_manager()

    class Meta:
        ordering = ["model__slug"]

    def __str__(self) -> str:
        return f"upstream of {self.model}"

    @property
    def has_key(self) -> bool:
        return bool(self.sealed_key)
