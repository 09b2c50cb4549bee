"""How much a role, a user, a key or a model may take."""

from __future__ import annotations

from django.core.validators import MinValueValidator
from django.db import models
from django.db.models import Q

from accounts.models.api_keys import ApiKey
from accounts.models.roles import Role
from accounts.models.users import User
from accounts.querysets import LimitPolicyQuerySet

#: As a limit's value: no limit at all. NULL inherits, 0 allows nothing.
UNLIMITED = -1

_SUBJECTS = ("role", "user", "api_key", "model_slug")


def _limit(help_text: str) -> models.BigIntegerField[int | None, int | None]:
    return models.BigIntegerField(
        null=True, blank=True, validators=[MinValueValidator(UNLIMITED)], help_text=help_text
    )


def _exactly_one_subject() -> Q:
    choices = Q()
    for chosen in _SUBJECTS:
        choices |= Q(**{f"{name}__isnull": name != chosen for name in _SUBJECTS})
    return choices


class LimitPolicy(models.Model):
    """The limits of one subject: a role (for each of its users), a user, a key, or a model.

    A user's value stands before its role's, that before the system configuration's. A key's values
    hold beside its owner's, never instead of them; a model's hold for all who use it.
    """

    role = models.OneToOneField(
        Role, null=True, blank=True, on_delete=models.CASCADE, related_name="limits"
    )
    user = models.OneToOneField(
        User, null=True, blank=True, on_delete=models.CASCADE, related_name="limits"
    )
    api_key = models.OneToOneField(
        ApiKey, null=True, blank=True, on_delete=models.CASCADE, related_name="limits"
    )
    model_slug = models.CharField(max_length=128, null=True, blank=True, unique=True)

    inference_per_minute = _limit("inference requests a minute")
    batch_per_minute = _limit("batch requests a minute")
    plugins_per_minute = _limit("plugin operations a minute")
    system_per_minute = _limit("other requests a minute")
    tokens_per_minute = _limit("prompt and generated tokens a minute")
    concurrent_jobs = _limit("jobs waiting or running at once")
    daily_tokens = _limit("tokens a day (UTC)")
    monthly_tokens = _limit("tokens a calendar month (UTC)")
    pool_daily_tokens = _limit("tokens a day of all users of the role together")
    pool_monthly_tokens = _limit("tokens a month of all users of the role together")

    objects = LimitPolicyQuerySet.as_manager()

    class Meta:
        verbose_name_plural = "limit policies"
        constraints = [
            models.CheckConstraint(condition=_exactly_one_subject(), name="limits_of_one_subject"),
        ]

    def __str__(self) -> str:
        return f"limits of {self.subject}"

    @property
    def subject(self) -> str:
        """Such as `role operator` or `model smollm2-135m-instruct`."""
        if self.role is not None:
            return f"role {self.role.slug}"
        if self.user is not None:
            return f"user {self.user.username}"
        if self.api_key is not None:
            return f"key {self.api_key.prefix}"
        return f"model {self.model_slug}"
