"""From the text of a key to the key itself: the one way in for REST, and for sockets later."""

from __future__ import annotations

from datetime import timedelta
from hmac import compare_digest

from django.conf import settings
from django.db.models import Q
from django.utils import timezone

from accounts.api_keys import digest_key, split_key
from accounts.failed_attempts import note_failure, wait_before_next
from accounts.models import ApiKey
from accounts.role_rights import role_with_rights
from llamagpu.http.errors import AppError
from llamagpu.http.origin import Origin, current_origin
from llamagpu.lib.error_codes import ErrorCode
from llamagpu.lib.prepared_query import PreparedQuery

REFUSAL = "The API key is unknown, revoked or expired."

_LAST_USED_STEP = timedelta(minutes=1)
# Compared with where a prefix is unknown, so that both refusals do the same work.
_NO_DIGEST = "0" * 64

_BY_PREFIX: PreparedQuery[ApiKey] = PreparedQuery(
    lambda prefix: ApiKey.objects.select_related("user").filter(prefix=prefix).order_by()
)


class WrongAddressError(AppError):
    """A right key from an address that is not on its list. `key` is that key."""

    def __init__(self, key: ApiKey, peer: str) -> None:
        where = peer or "an unknown address"
        super().__init__(ErrorCode.PERMISSION_DENIED, f"This key may not be used from {where}.")
        self.key = key


def authenticate_key(text: str, peer: str) -> ApiKey:
    """The usable key that `text` spells, its owner, role and rights at hand; notes its use.

    `peer` is the caller's IP address, or empty. Audit rows written from here on carry the key.
    Raises AppError: RATE_LIMIT_EXCEEDED before anything is looked up where too many keys from `peer`
    were refused lately, AUTHENTICATION_FAILED for one that is unknown, wrong, revoked, expired or of
    an inactive owner, WrongAddressError (PERMISSION_DENIED) only for who holds the right key.
    """
    wait = wait_before_next(peer)
    if wait:
        raise AppError(
            ErrorCode.RATE_LIMIT_EXCEEDED,
            "Too many refused keys came from this address.",
            retry_after=wait,
        )
    key = find_key(text)
    if key is None:
        note_failure(peer)
        raise AppError(ErrorCode.AUTHENTICATION_FAILED, REFUSAL)
    current_origin.set(Origin(peer=peer, key_prefix=key.prefix))
    if not key.allows_address(peer):
        note_failure(peer)
        raise WrongAddressError(key, peer)
    _note_use(key)
    return key


def find_key(text: str) -> ApiKey | None:
    """The usable key that `text` spells, its owner, role and rights at hand; else None.

    Whatever has the form of a key costs one query and one digest, be it unknown, wrong or mistyped.
    """
    parts = split_key(text)
    if parts is None:
        return None
    key = _BY_PREFIX.first(parts.prefix)
    digest = digest_key(parts, settings.API_KEY_PEPPER)
    matches = compare_digest(digest, key.digest if key else _NO_DIGEST)
    if key is None or not matches or not key.is_usable or not key.user.is_active:
        return None
    key.user.role = role_with_rights(key.user.role_id)
    return key


def _note_use(key: ApiKey) -> None:
    """At most one write a minute and key."""
    now = timezone.now()
    if key.last_used_at is not None and now - key.last_used_at < _LAST_USED_STEP:
        return
    stale = Q(last_used_at=None) | Q(last_used_at__lte=now - _LAST_USED_STEP)
    ApiKey.objects.filter(stale, pk=key.pk).update(last_used_at=now)
