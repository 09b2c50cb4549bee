"""Calls that were refused before there was a job: kept for an hour, so that a request's id tells why.

They lie in Redis alone. Without it a refusal is what it was, and only the answer has told of it.
"""

from __future__ import annotations

import json
import logging
from datetime import UTC, datetime
from typing import Any

import redis
from django.conf import settings

from accounts.retention import retention_of
from inference.job_contents import public_error
from llamagpu.http.errors import AppError, request_id_of
from llamagpu.http.refusals import add_call_listener
from llamagpu.lib.redis_client import sync_client

logger = logging.getLogger(__name__)

_KEPT_FOR = 3600
#: What one user may leave in a minute; a client that runs wild repeats itself.
_MOST_A_MINUTE = 60
_MOST_DETAILS = 4096


def register() -> None:
    add_call_listener(note_refused_call)


def note_refused_call(request: Any, error: AppError) -> None:
    """Keep why `request`, of an authenticated caller, was refused. Fails silently without Redis."""
    user, key = request.user, request.auth
    details = error.details if len(json.dumps(error.details)) <= _MOST_DETAILS else None
    message = error.message
    if retention_of(user.retention, key.retention if key else "").kind in ("none", "hash"):
        message, details = public_error(str(error.code), message), None
    note = {
        "at": datetime.now(tz=UTC).isoformat(),
        "owner": user.get_username(),
        "key": key.prefix if key else None,
        "call": f"{request.method} {request.path}"[:200],
        "status": error.code.http_status,
        "error": {"code": str(error.code), "message": message, "details": details},
    }
    name = _name(request_id_of(request))
    counter = f"lg:refused_calls:{user.pk}"
    try:
        client = sync_client(settings.REDIS_URL)
        pipeline = client.pipeline(transaction=False)
        pipeline.incr(counter)
        pipeline.expire(counter, 60, nx=True)
        if pipeline.execute()[0] > _MOST_A_MINUTE:
            return
        pipeline = client.pipeline(transaction=False)
        pipeline.hset(name, str(user.pk), json.dumps(note))
        pipeline.expire(name, _KEPT_FOR)
        pipeline.execute()
    except redis.RedisError as failure:
        logger.warning("a refused call was not kept, Redis does not answer: %s", failure)


def find_refused_calls(request_id: str, user: Any, *, sees_all: bool) -> list[dict[str, Any]]:
    """What was kept of a request's id: the caller's own, or everybody's without their words.

    Two callers may have chosen the same id, hence a list.
    """
    try:
        notes = sync_client(settings.REDIS_URL).hgetall(_name(request_id))
    except redis.RedisError as failure:
        logger.warning("refused calls cannot be read: %s", failure)
        return []
    own = str(user.pk).encode()
    found = [(owner == own, json.loads(note)) for owner, note in notes.items()]
    return [
        note if is_own else _without_words(note) for is_own, note in found if is_own or sees_all
    ]


def _without_words(note: dict[str, Any]) -> dict[str, Any]:
    error = note["error"]
    message = public_error(error["code"], error["message"])
    return {**note, "error": {"code": error["code"], "message": message, "details": None}}


def _name(request_id: str) -> str:
    return f"lg:refused_call:{request_id}"
