"""Mails of accounts, sent beside the request: how long one takes tells nobody whether one was sent."""

from __future__ import annotations

import logging
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

from llamagpu.http.database import release_connections

logger = logging.getLogger(__name__)

_sender = ThreadPoolExecutor(max_workers=1, thread_name_prefix="mail")


def send_later(compose_and_send: Callable[..., None], **arguments: Any) -> Future[None]:
    """Runs `compose_and_send(**arguments)` on the mail thread; a failure is logged."""
    return _sender.submit(_run, compose_and_send, arguments)


def _run(compose_and_send: Callable[..., None], arguments: dict[str, Any]) -> None:
    try:
        compose_and_send(**arguments)
    except Exception:
        logger.exception("a mail could not be sent")
    finally:
        release_connections()
