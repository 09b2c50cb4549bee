"""How django-axes counts failed sign-ins here: by name and address, and by address alone."""

from __future__ import annotations

from typing import Any

from axes.attempts import get_cool_off_threshold
from axes.handlers.database import AxesDatabaseHandler
from axes.handlers.proxy import AxesProxyHandler
from axes.models import AccessAttempt
from django.conf import settings
from django.db.models import Max, QuerySet, Sum
from django.http import HttpRequest
from django.utils import timezone
from django.utils.crypto import salted_hmac

from accounts.models import User
from llamagpu.http.origin import peer_address, subscriber_of

#: An address is locked after this many times the failures of one name: people may share it.
ADDRESS_FACTOR = 10


class LoginGuard(AxesDatabaseHandler):
    """Stands in AXES_HANDLER."""

    def get_failures(self, request: HttpRequest, credentials: dict[str, Any] | None = None) -> int:
        """Failures of this name from this address, or the address's share if that is more."""
        of_pair: int = super().get_failures(request, credentials)
        return max(of_pair, _total(_of_address(request)) // ADDRESS_FACTOR)


def is_locked(request: HttpRequest, username: str) -> bool:
    """Whether this name may not be tried from this address now."""
    return not AxesProxyHandler.is_allowed(request, {"username": username})


def seconds_locked(request: HttpRequest, username: str) -> int:
    """Seconds until a locked name may be tried again, at least 1."""
    guard = AxesProxyHandler.get_implementation()
    of_pair = guard.get_user_attempts(request, {"username": username})[0]
    locking = of_pair if _total(of_pair) >= settings.AXES_FAILURE_LIMIT else _of_address(request)
    last = locking.aggregate(last=Max("attempt_time"))["last"] or timezone.now()
    return max(1, int((last + settings.AXES_COOLOFF_TIME - timezone.now()).total_seconds()) + 1)


def address_of(request: HttpRequest) -> str | None:
    """AXES_CLIENT_IP_CALLABLE: an address; for a whole IPv6 subscriber the first one of its network."""
    return subscriber_of(peer_address(request)).partition("/")[0] or None


def name_of(request: HttpRequest, credentials: dict[str, Any] | None) -> str:
    """AXES_USERNAME_CALLABLE: the name where it exists, else a digest of what was typed.

    People type passwords into the wrong field, so an unknown name is not kept as it is.
    """
    typed = str((credentials or {}).get("username", ""))
    known: dict[str, str] = request.__dict__.setdefault("_names_for_axes", {})
    if typed not in known:
        exists = User.objects.filter(username=typed).exists()
        known[typed] = typed if exists else _digest(typed)
    return known[typed]


def _digest(typed: str) -> str:
    return "?" + salted_hmac("accounts.login_guard", typed, algorithm="sha256").hexdigest()[:32]


def _of_address(request: HttpRequest) -> QuerySet[Any]:
    return AccessAttempt.objects.filter(
        ip_address=request.axes_ip_address,  # type: ignore[attr-defined]
        attempt_time__gte=get_cool_off_threshold(request),
    )


def _total(attempts: QuerySet[Any]) -> int:
    return attempts.aggregate(total=Sum("failures_since_start"))["total"] or 0
