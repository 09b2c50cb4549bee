"""A conversation with a model over the running server's own API, as any other client has it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import httpx
from django.utils import timezone

from accounts.models import User
from accounts.services.api_keys import create_api_key, revoke_api_key

_CONNECT_TIMEOUT = 5.0
# Loading a big model takes a while before the first token.
_READ_TIMEOUT = 1800.0
_KEY_LIFETIME = timedelta(hours=12)


class ChatError(Exception):
    """Why there is no answer; one sentence for a person."""


@dataclass(slots=True)
class Chat:
    """`messages` are what was said so far. Each answer is appended, also one that was stopped."""

    url: str
    key: str
    model: str
    parameters: dict[str, Any] = field(default_factory=dict)
    messages: list[dict[str, str]] = field(default_factory=list)

    def ask(self, text: str, on_text: Callable[[str], None]) -> None:
        """Say something and hand on the answer as it comes. Raises ChatError, KeyboardInterrupt.

        Leaving early closes the stream, which ends the generation.
        """
        self.messages.append({"role": "user", "content": text})
        parts: list[str] = []
        try:
            for part in self._stream():
                parts.append(part)
                on_text(part)
        except ChatError:
            self.messages.pop()
            raise
        except KeyboardInterrupt:
            self._note("".join(parts))
            raise
        self._note("".join(parts))

    def _note(self, answer: str) -> None:
        """An answer, or that there was none."""
        if answer:
            self.messages.append({"role": "assistant", "content": answer})
        else:
            self.messages.pop()

    def _stream(self) -> Iterator[str]:
        body = {
            "model": self.model,
            "messages": self.messages,
            "stream": True,
            **self.parameters,
        }
        timeout = httpx.Timeout(_READ_TIMEOUT, connect=_CONNECT_TIMEOUT)
        headers = {"Authorization": f"Bearer {self.key}"}
        address = f"{self.url}/v1/chat/completions"
        try:
            with (
                httpx.Client(timeout=timeout, trust_env=False) as client,
                client.stream("POST", address, json=body, headers=headers) as response,
            ):
                if response.status_code != httpx.codes.OK:
                    raise ChatError(_said(response.read(), response.status_code))
                yield from _texts(response.iter_lines())
        except httpx.ConnectError as error:
            raise ChatError(
                f"no server answers at {self.url}: start it with manage.py serve"
            ) from error
        except httpx.HTTPError as error:
            raise ChatError(f"the answer broke off: {type(error).__name__}") from error


@contextmanager
def temporary_key(user: User, model: str) -> Iterator[str]:
    """A key of `user` for `model` alone, revoked at the end. Raises AppError."""
    row, key = create_api_key(
        actor=None,
        user=user,
        name="manage.py run",
        allowed_models=(model,),
        expires_at=timezone.now() + _KEY_LIFETIME,
    )
    try:
        yield str(key)
    finally:
        revoke_api_key(actor=None, key=row)


def _texts(lines: Iterator[str]) -> Iterator[str]:
    for line in lines:
        if not line.startswith("data:"):
            continue
        data = line.removeprefix("data:").strip()
        if data == "[DONE]":
            return
        event = json.loads(data)
        if "error" in event:
            raise ChatError(str(event["error"].get("message", "the server gave no reason")))
        for choice in event.get("choices", ()):
            if text := choice.get("delta", {}).get("content"):
                yield str(text)


def _said(body: bytes, status: int) -> str:
    try:
        return str(json.loads(body)["error"]["message"])
    except (ValueError, KeyError, TypeError):
        return f"the server answered with {status}"
