"""Keys that act for their owners."""

from __future__ import annotations

import ipaddress

from django.db import models
from django.utils import timezone

from accounts.models.users import User
from accounts.querysets import ApiKeyQuerySet
from llamagpu.http.permissions import Scope


class ApiKey(models.Model):
    """A key that acts for its owner. Only its prefix and its digest are kept.

    An empty list means no narrowing: all that the owner may do, every model, every address.
    """

    user = models.ForeignKey(User, on_delete=models.CASCADE, related_name="api_keys")
    name = models.CharField(max_length=100)
    prefix = models.CharField(max_length=8, unique=True, editable=False)
    digest = models.CharField(max_length=64, editable=False)
    scopes = models.JSONField(default=list, blank=True)
    allowed_models = models.JSONField(default=list, blank=True, help_text="slugs of models")
    allowed_ips = models.JSONField(
        default=list, blank=True, help_text="addresses or networks, such as 10.0.0.0/8"
    )
    retention = models.CharField(
        max_length=8,
        blank=True,
        help_text="what is kept of its jobs after their end, where that is less than the owner's: "
        "30d and so on, hash, none; empty: as for the owner",
    )
    created_at = models.DateTimeField(default=timezone.now, editable=False)
    expires_at = models.DateTimeField(null=True, blank=True)
    revoked_at = models.DateTimeField(null=True, blank=True)
    last_used_at = models.DateTimeField(null=True, blank=True, editable=False)
    replaces = models.OneToOneField(
        "self",
        null=True,
        blank=True,
        editable=False,
        on_delete=models.SET_NULL,
        related_name="successor",
    )

    objects = ApiKeyQuerySet.as_manager()

    class Meta:
        ordering = ["-id"]
        verbose_name = "API key"

    def __str__(self) -> str:
        return f"lg_{self.prefix}_… ({self.name})"

    @property
    def is_usable(self) -> bool:
        """Neither revoked nor past its expiry."""
        expired = self.expires_at is not None and self.expires_at <= timezone.now()
        return self.revoked_at is None and not expired

    def has_scope(self, scope: Scope) -> bool:
        return not self.scopes or scope in self.scopes

    def allows_model(self, slug: str) -> bool:
        return not self.allowed_models or slug in self.allowed_models

    def allows_address(self, peer: str) -> bool:
        """Whether the key may be used from `peer`, an IP address, or empty where there is none."""
        if not self.allowed_ips:
            return True
        if not peer:
            return False
        address = ipaddress.ip_address(peer)
        # An IPv4 caller of a socket that listens on both kinds shows as `::ffff:a.b.c.d`.
        if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
            address = address.ipv4_mapped
        return any(address in ipaddress.ip_network(allowed) for allowed in self.allowed_ips)

    @property
    def state(self) -> str:
        """`usable`, `revoked` or `expired`."""
        if self.revoked_at is not None:
            return "revoked"
        return "usable" if self.is_usable else "expired"
