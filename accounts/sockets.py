"""Who opens a socket: the same keys, sessions and rights as for a call of REST.

A key comes in a header, as the sub-protocol `key.<token>` beside `llamagpu.v1` (browsers set no headers),
or in what Socket.IO calls `auth`. A socket that offers a key stands or falls with it. A browser's cookie
counts only with an `Origin` of this portal: browsers send cookies along whatever page opens a socket.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from types import SimpleNamespace
from typing import Any
from urllib.parse import parse_qs, urlsplit

from django.conf import settings
from django.contrib.auth import get_user
from django.http import HttpRequest
from django.http.cookie import parse_cookie
from django.http.request import split_domain_port, validate_host

from accounts.api_keys import is_in_address, keys_in_headers
from accounts.limits import count_call, refusal_of
from accounts.models import ApiKey, User
from accounts.rights_watch import Holder, RightLost, find_losses, holder_of, watch_rights
from accounts.services.key_authentication import WrongAddressError, authenticate_key
from accounts.sessions import SessionMark, SessionStore, mark_of
from accounts.socket_places import check_room, take_place
from llamagpu.http.errors import AppError
from llamagpu.http.origin import Origin, current_origin, peer_of_scope
from llamagpu.http.permissions import LimitGroup, Rule, SignedIn, allows
from llamagpu.http.refusals import Refusal, report
from llamagpu.http.request_threads import in_request_thread
from llamagpu.http.sockets.caller import Scope
from llamagpu.lib.error_codes import ErrorCode

#: The sub-protocol that the server names back; a key is offered beside it.
SUBPROTOCOL = "llamagpu.v1"
KEY_PREFIX = "key."


@dataclass(frozen=True, slots=True)
class Caller:
    """Somebody who has opened a socket (`llamagpu.http.sockets.caller.SocketCaller`)."""

    user: User
    key: ApiKey | None
    peer: str
    session: SessionMark | None = None

    def allows(self, rule: Rule) -> bool:
        return allows(rule, self.user, self.key)

    def watch(self, rule: Rule, on_lost: Callable[[AppError], None]) -> AbstractContextManager[Any]:
        return watch_rights(self._holder(rule), lambda loss: on_lost(_error_of(loss)))

    def take_place(self) -> AbstractContextManager[None]:
        return take_place(self.user.pk, self.key.pk if self.key is not None else None)

    async def fresh(self) -> Caller:
        fresh: Caller = await in_request_thread(self.look_again)()
        return fresh

    async def count(self, group: LimitGroup) -> None:
        await in_request_thread(self._count)(group)

    def _holder(self, rule: Rule) -> Holder:
        return replace(holder_of(self.user, self.key, rule, peer=self.peer), session=self.session)

    def look_again(self) -> Caller:
        holder = self._holder(SignedIn())
        loss = find_losses([holder]).get(holder)
        user = User.objects.get_queryset().with_rights().filter(pk=self.user.pk).first()
        key = None if self.key is None else ApiKey.objects.filter(pk=self.key.pk).first()
        if loss is not None:
            raise _error_of(loss)
        if user is None or (key is None) != (self.key is None):  # gone between the questions
            raise AppError(ErrorCode.AUTHENTICATION_FAILED, "The account or its key is gone.")
        return replace(self, user=user, key=key)

    def _count(self, group: LimitGroup) -> None:
        rate = count_call(HttpRequest(), group, self.user, self.key)
        if rate is not None and rate.is_exceeded:
            raise refusal_of(group, rate)


async def authenticate_socket(scope: Scope, offered: str | None = None) -> Caller:
    """The caller of a socket; `offered` is a key that came in another way than in a header.

    Raises AppError AUTHENTICATION_FAILED, PERMISSION_DENIED (address, host or origin),
    RATE_LIMIT_EXCEEDED after too many refused keys, BACKEND_UNAVAILABLE where there is no room.
    """
    check_room()
    peer = peer_of_scope(scope)
    current_origin.set(Origin(peer=peer))
    headers = _headers(scope)
    if not _is_our_host(headers.get("host", "")):
        raise AppError(ErrorCode.PERMISSION_DENIED, "This server does not have that name.")
    query = scope.get("query_string", b"").decode("latin-1")
    if is_in_address(parse_qs(query, keep_blank_values=True).items()):
        raise AppError(
            ErrorCode.AUTHENTICATION_FAILED, "A key in the address is refused: send it in a header."
        )
    keys = _offered_keys(scope, headers, offered)
    if keys:
        # Two different ones would leave open whose rights are meant: as one text, they are no key.
        key = await in_request_thread(_authenticate_key)(" ".join(sorted(keys)), peer)
        current_origin.set(Origin(peer=peer, key_prefix=key.prefix))
        return Caller(key.user, key, peer)
    session_key = parse_cookie(headers.get("cookie", "")).get(settings.SESSION_COOKIE_NAME)
    if not session_key:
        raise AppError(ErrorCode.AUTHENTICATION_FAILED, "A key or a session is needed.")
    if not is_own_origin(headers.get("origin", ""), scope):
        raise AppError(
            ErrorCode.PERMISSION_DENIED, "A session may be used from pages of this portal alone."
        )
    caller: Caller = await in_request_thread(_of_session)(session_key, peer)
    return caller


def is_own_origin(origin: str, scope: Scope) -> bool:
    """Whether a page of this portal has opened the socket; `null` and an absent origin are none."""
    if origin in settings.CSRF_TRUSTED_ORIGINS:
        return True
    headers = _headers(scope)
    is_tls = scope.get("scheme") in ("wss", "https")
    if settings.SECURE_PROXY_SSL_HEADER and "x-forwarded-proto" in headers:
        is_tls = headers["x-forwarded-proto"].split(",")[0].strip() == "https"
    parts = urlsplit(origin)
    expected = f"{'https' if is_tls else 'http'}://{headers.get('host', '').lower()}"
    return bool(parts.netloc) and f"{parts.scheme}://{parts.netloc}".lower() == expected


def _authenticate_key(text: str, peer: str) -> ApiKey:
    try:
        return authenticate_key(text, peer)
    except WrongAddressError as error:
        report(Refusal(error.key.user, "GET", "ws", "allowed addresses", error.message))
        raise


def _of_session(session_key: str, peer: str) -> Caller:
    session = SessionStore(session_key)
    user = get_user(SimpleNamespace(session=session))  # type: ignore[arg-type]
    if not isinstance(user, User):
        raise AppError(ErrorCode.AUTHENTICATION_FAILED, "The session has ended: sign in again.")
    return Caller(user, None, peer, mark_of(session))


def _offered_keys(scope: Scope, headers: dict[str, str], offered: str | None) -> set[str]:
    keys = keys_in_headers(headers.get("authorization", ""), headers.get("x-api-key"))
    protocols = scope.get("subprotocols") or ()
    keys |= {name[len(KEY_PREFIX) :] for name in protocols if name.startswith(KEY_PREFIX)}
    return keys if offered is None else keys | {offered.strip()}


def _headers(scope: Scope) -> dict[str, str]:
    """By name; one that stands more than once is joined."""
    headers: dict[str, str] = {}
    for raw_name, raw_value in scope.get("headers", ()):
        name, value = raw_name.decode("latin-1").lower(), raw_value.decode("latin-1")
        separator = "; " if name == "cookie" else ","
        headers[name] = f"{headers[name]}{separator}{value}" if name in headers else value
    return headers


def _is_our_host(host: str) -> bool:
    domain, _ = split_domain_port(host)
    return bool(domain) and validate_host(domain, settings.ALLOWED_HOSTS)


def _error_of(loss: RightLost) -> AppError:
    return AppError(loss.code, loss.message)
