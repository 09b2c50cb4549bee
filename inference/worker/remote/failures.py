"""What goes wrong with an upstream, and what its callers are told of it.

Nobody but who manages models learns where an upstream is: its words are passed on without addresses,
and never where they might repeat its key.
"""

from __future__ import annotations

import email.utils
import re
import time
from dataclasses import dataclass
from typing import Any

import msgspec

from inference.worker.engine_process import EngineDiedError
from inference.worker.remote.target import RemoteLoad
from llamagpu.lib.error_codes import ErrorCode

_MAX_MESSAGE = 300
_ADDRESS = re.compile(r"https?://\S+|\b\d{1,3}(?:\.\d{1,3}){3}(?::\d+)?\b", re.IGNORECASE)
_CONTEXT = re.compile(
    r"maximum context length|context[ _](?:length|size|window)|max_model_len", re.IGNORECASE
)

_TOO_LONG = (
    "The prompt and max_tokens together are longer than the upstream's context. Shorten the text or "
    "lower max_tokens."
)
_NO_REASON = "The upstream refused the request and gave no reason."


@dataclass(eq=False)
class RemoteFailure(Exception):
    """The request ends with this. `is_doubtful`: the upstream as a whole may be unfit."""

    code: ErrorCode
    message: str
    is_doubtful: bool = False


class BrokenOffError(EngineDiedError):
    """The upstream went away, or failed, in the middle of an answer."""

    summary = "The upstream broke off each time it worked on this request."


@dataclass(eq=False)
class TryAgain(Exception):
    """Nothing was answered; `failure` is what to say when patience ends.

    `wait` is what the upstream asks for, in seconds. `is_busy`: it will have room again. `is_away`: it
    cannot be reached, perhaps since it begins anew.
    """

    failure: RemoteFailure
    wait: float | None = None
    is_busy: bool = False
    is_away: bool = False


def garbage() -> RemoteFailure:
    return RemoteFailure(
        ErrorCode.BACKEND_UNAVAILABLE, "The upstream answered in a form that is not understood."
    )


def silence(load: RemoteLoad) -> RemoteFailure:
    message = f"The upstream has sent nothing for {load.silence:g} seconds."
    return RemoteFailure(ErrorCode.BACKEND_UNAVAILABLE, message, is_doubtful=True)


def unreachable() -> TryAgain:
    message = "The upstream of this model does not answer."
    failure = RemoteFailure(ErrorCode.BACKEND_UNAVAILABLE, message, is_doubtful=True)
    return TryAgain(failure, is_away=True)


def forbidden() -> RemoteFailure:
    return RemoteFailure(
        ErrorCode.BACKEND_UNAVAILABLE,
        "The upstream's address is not one that this server may call (LLAMA_UPSTREAM_ALLOW).",
        is_doubtful=True,
    )


def failure_of(status: int, headers: Any, body: bytes, load: RemoteLoad) -> Exception:
    """What an answer other than 200 means: a `RemoteFailure`, or a `TryAgain`."""
    if status == 429:
        busy = RemoteFailure(ErrorCode.QUEUE_FULL, "The upstream takes no more requests now.")
        return TryAgain(busy, retry_after(headers), is_busy=True)
    if status == 408 or status >= 500:
        message = f"The upstream failed with status {status}."
        failed = RemoteFailure(ErrorCode.BACKEND_UNAVAILABLE, message)
        return TryAgain(failed, retry_after(headers), is_away=status in (502, 503, 504))
    if status in (400, 422):
        return refusal(body, load)
    code, message = _OTHERS.get(
        status, (ErrorCode.BACKEND_UNAVAILABLE, f"The upstream answered with status {status}.")
    )
    if 300 <= status < 400:
        message = "The upstream answered with a redirect, which is not followed."
    return RemoteFailure(code, message, is_doubtful=status in (401, 403, 404))


_OTHERS = {
    401: (ErrorCode.BACKEND_UNAVAILABLE, "The upstream refused our key."),
    403: (ErrorCode.BACKEND_UNAVAILABLE, "The upstream refused our key."),
    404: (ErrorCode.MODEL_LOAD_FAILED, "The upstream knows no such model, or no such call."),
    413: (ErrorCode.CONTENT_TOO_LARGE, "The prompt is larger than the upstream accepts."),
}


def refusal(body: bytes, load: RemoteLoad) -> RemoteFailure:
    """The upstream's own reason for refusing a request."""
    reason = shown(_message_in(body), load)
    if "context_length_exceeded" in _text(body) or _CONTEXT.search(reason):
        # In words of ours: what is said of a length is read by others than the owner too.
        return RemoteFailure(ErrorCode.CONTEXT_LENGTH_EXCEEDED, _TOO_LONG)
    message = f"The upstream refused the request: {reason}" if reason else _NO_REASON
    return RemoteFailure(ErrorCode.INVALID_INPUT, message)


def shown(text: str, load: RemoteLoad) -> str:
    """The upstream's words, short, in one line, without addresses and without our key."""
    if load.key:
        text = text.replace(load.key, "[key]")
    text = _ADDRESS.sub("[address]", text)
    text = re.sub(
        re.escape(load.base_url.host) + r"(:\d+)?", "[address]", text, flags=re.IGNORECASE
    )
    text = " ".join("".join(char if char.isprintable() else " " for char in text).split())
    return text if len(text) <= _MAX_MESSAGE else text[: _MAX_MESSAGE - 1] + "…"


def retry_after(headers: Any) -> float | None:
    """Seconds that a Retry-After header asks for: a number or a date."""
    value = str(headers.get("retry-after", "")).strip()
    if re.fullmatch(r"\d{1,6}(\.\d{1,3})?", value):
        return float(value)
    try:
        return max(0.0, email.utils.parsedate_to_datetime(value).timestamp() - time.time())
    except (ValueError, OverflowError):
        return None


def error_in_stream(error: Any, load: RemoteLoad) -> Exception:
    """An error that came where a chunk should have been."""
    code = error.get("code") if isinstance(error, dict) else None
    if code in (400, 422, "400", "422", "invalid_input", "context_length_exceeded"):
        return refusal(msgspec.json.encode({"error": error}), load)
    return BrokenOffError()


def _message_in(body: bytes) -> str:
    """The reason in an error's body, in the forms that servers use."""
    try:
        value = msgspec.json.decode(body)
    except (msgspec.DecodeError, RecursionError):
        return _text(body) if body[:1].isalnum() else ""
    for _ in range(3):
        if isinstance(value, dict):
            value = next((value[k] for k in ("error", "message", "detail") if k in value), "")
    return value if isinstance(value, str) else ""


def _text(body: bytes) -> str:
    return body.decode("utf-8", "replace")
