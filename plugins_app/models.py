"""Tables of plugins: what was found, what of it shall run and how, what its settings were."""

from __future__ import annotations

from django.conf import settings
from django.core.validators import MaxValueValidator
from django.db import models
from django.utils import timezone

from plugins_app.base import PluginCategory
from plugins_app.querysets import PluginQuerySet, PluginSettingsQuerySet
from plugins_app.spec import FailurePolicy, Tier
from plugins_app.states import STORED_STATES, PluginState

MAX_ORDER = 10_000


class Plugin(models.Model):
    """A plugin that was found. What stands in its files follows them; the rest is people's wish.

    Whether it runs is not kept here: workers report it (`plugins_app.health`). `generation` is the
    number of its last change among those of all plugins (`PluginGeneration`).
    """

    slug = models.CharField(max_length=64, unique=True)
    tier = models.CharField(max_length=16, choices=[(tier.value, tier.value) for tier in Tier])
    path = models.CharField(max_length=1024)
    name = models.CharField(max_length=100)
    version = models.CharField(max_length=64, blank=True)
    author = models.CharField(max_length=200, blank=True)
    description = models.TextField(blank=True)
    category = models.CharField(
        max_length=32,
        blank=True,
        choices=[(category.value, category.value) for category in PluginCategory],
    )
    metadata = models.JSONField(
        default=dict, help_text="dependencies, compatibility, hooks, api_version, class"
    )
    settings_schema = models.JSONField(null=True)

    sha256 = models.CharField(max_length=64, blank=True, help_text="of its files as they are")
    approved_sha256 = models.CharField(
        max_length=64, blank=True, help_text="of its files as they were approved"
    )
    approved_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, on_delete=models.SET_NULL, related_name="+"
    )
    approved_at = models.DateTimeField(null=True)

    state = models.CharField(
        max_length=16,
        default=PluginState.DISCOVERED.value,
        choices=[(state.value, state.value) for state in STORED_STATES],
    )
    problem = models.CharField(max_length=1000, blank=True, help_text="why it was rejected")
    is_enabled = models.BooleanField(default=False, help_text="every worker shall run it")

    order = models.PositiveSmallIntegerField(
        default=100,
        validators=[MaxValueValidator(MAX_ORDER)],
        help_text="the lower one acts first",
    )
    policy = models.CharField(
        max_length=16,
        default=FailurePolicy.FAIL_OPEN.value,
        choices=[(policy.value, policy.value) for policy in FailurePolicy],
        help_text="what a fault of it means: fail_open serves the request without it",
    )
    for_models = models.JSONField(
        default=list, blank=True, help_text="it applies to; empty: to all"
    )
    for_roles = models.JSONField(default=list, blank=True, help_text="it applies to; empty: to all")
    budget = models.JSONField(default=dict, blank=True, help_text="limits other than the usual")
    config = models.JSONField(default=dict, help_text="its settings; secrets are sealed")

    generation = models.PositiveBigIntegerField(default=0, editable=False)
    created_at = models.DateTimeField(default=timezone.now, editable=False)
    updated_at = models.DateTimeField(auto_now=True)

    objects = PluginQuerySet.as_manager()

    class Meta:
        ordering = ["order", "slug"]

    def __str__(self) -> str:
        return self.slug

    @property
    def is_core(self) -> bool:
        return self.tier == Tier.CORE

    @property
    def is_approved(self) -> bool:
        """Its files are those that somebody approved; core plugins came with the portal."""
        return self.is_core or bool(self.sha256 and self.sha256 == self.approved_sha256)


class PluginSettings(models.Model):
    """One change of a plugin's settings, for looking back and for going back. Secrets are sealed."""

    plugin = models.ForeignKey(Plugin, on_delete=models.CASCADE, related_name="settings_history")
    number = models.PositiveIntegerField(help_text="1 is the plugin's first")
    before = models.JSONField()
    after = models.JSONField()
    hidden = models.JSONField(default=list, help_text="names of those that are sealed")
    actor = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, on_delete=models.SET_NULL, related_name="+"
    )
    actor_name = models.CharField(max_length=150)
    created_at = models.DateTimeField(default=timezone.now, editable=False)

    objects = PluginSettingsQuerySet.as_manager()

    class Meta:
        ordering = ["plugin", "-number"]
        verbose_name_plural = "plugin settings"
        constraints = [
            models.UniqueConstraint(fields=["plugin", "number"], name="one_number_a_change"),
        ]

    def __str__(self) -> str:
        return f"settings {self.number} of {self.plugin}"


class PluginGeneration(models.Model):
    """Counts the changes of all plugins, in one row: workers ask it alone whether to look again."""

    number = models.PositiveBigIntegerField(default=0)

    def __str__(self) -> str:
        return str(self.number)
