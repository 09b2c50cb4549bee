"""What both clients do with a call around the sending itself: headers, errors, when to try again."""

from __future__ import annotations

import platform
import random
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from time import time
from typing import Any, TypeVar

import httpx

from llamagpu_client.calls import Call
from llamagpu_client.errors import ConnectionFailed, LlamaGPUError, error_from
from llamagpu_client.version import VERSION

T = TypeVar("T")
#: Seconds: an answer may take long, a connection may not.
DEFAULT_TIMEOUT = httpx.Timeout(600.0, connect=5.0)
#: Longer waits that a server asks for are the caller's to decide.
LONGEST_WAIT = 120.0
_AGAIN = {409, 429, 503}
_FIRST_WAIT, _MOST_WAIT = 0.5, 8.0


@dataclass(frozen=True)
class Settings:
    """What a client was made with, ready for httpx."""

    base_url: str
    api_key: str
    timeout: httpx.Timeout | float
    max_retries: int

    def for_httpx(self) -> dict[str, Any]:
        """Arguments of `httpx.Client`. A redirect would carry the key elsewhere and is an error."""
        agent = f"llamagpu-client/{VERSION} python/{platform.python_version()}"
        return {
            "base_url": self.base_url.rstrip("/") + "/api/",
            "headers": {"Authorization": f"Bearer {self.api_key}", "User-Agent": agent},
            "timeout": self.timeout,
            "follow_redirects": False,
        }


def request_arguments(call: Call[Any]) -> dict[str, Any]:
    """Arguments of `httpx.Client.build_request`."""
    return {
        "method": call.method,
        "url": call.path,
        "json": call.json,
        "params": call.params or None,
        "headers": call.headers,
    }


def read_answer(call: Call[T], response: httpx.Response) -> T:
    """Raises LlamaGPUError."""
    if not response.is_success:
        raise refusal(response)
    try:
        return call.read(response.json())
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise LlamaGPUError(
            "The server answered in words that this client does not know.",
            request_id=response.headers.get("X-Request-ID"),
            status=response.status_code,
        ) from error


def refusal(response: httpx.Response) -> LlamaGPUError:
    """The error that an answer, which was read, tells of."""
    try:
        body = response.json()
    except ValueError:
        body = None
    return error_from(
        body,
        status=response.status_code,
        retry_after=retry_after_of(response),
        request_id=response.headers.get("X-Request-ID"),
        job_id=response.headers.get("X-Job-ID"),
    )


def cut_off(error: Exception, job_id: str | None = None) -> ConnectionFailed:
    """The error of a connection that could not be made or broke."""
    return ConnectionFailed(str(error) or type(error).__name__, job_id=job_id)


def wait_before_retry(
    call: Call[Any], outcome: httpx.Response | Exception, tries: int
) -> float | None:
    """Seconds until the call is sent once more after `tries` times; None: its outcome stands."""
    if isinstance(outcome, httpx.Response):
        asked = retry_after_of(outcome)
        if outcome.status_code == 502 and call.is_repeatable:
            return backoff(tries)
        if outcome.status_code not in _AGAIN or asked is None or asked > LONGEST_WAIT:
            return None
        return max(asked, 0.0)
    was_sent = not isinstance(outcome, httpx.ConnectError | httpx.ConnectTimeout)
    return None if was_sent and not call.is_repeatable else backoff(tries)


def backoff(tries: int) -> float:
    """Seconds: twice as many each time, a little at random so that callers do not come in step."""
    seconds = min(_FIRST_WAIT * 2.0 ** max(0, tries - 1), _MOST_WAIT)
    return seconds * random.uniform(0.75, 1.0)  # noqa: S311  # nothing secret


def retry_after_of(response: httpx.Response) -> float | None:
    """Seconds that the answer asks to wait: it says a number or a moment."""
    text = response.headers.get("Retry-After", "")
    try:
        return float(text)
    except ValueError:
        pass
    try:
        return parsedate_to_datetime(text).timestamp() - time()
    except ValueError:
        return None
