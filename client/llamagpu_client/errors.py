"""What a call can raise: one class for each kind of refusal, with what the server said."""

from __future__ import annotations

from typing import Any


class LlamaGPUError(Exception):
    """`code` is the server's, `status` the HTTP status (None where no answer came), `retry_after` in
    seconds. `request_id` and `job_id` find the call in the server's log and list of jobs."""

    def __init__(
        self,
        message: str,
        *,
        code: str = "",
        details: Any = None,
        request_id: str | None = None,
        status: int | None = None,
        retry_after: float | None = None,
        job_id: str | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.code = code
        self.details = details
        self.request_id = request_id
        self.status = status
        self.retry_after = retry_after
        self.job_id = job_id

    def __str__(self) -> str:
        code = f"{self.code}: " if self.code else ""
        request = f" (request {self.request_id})" if self.request_id else ""
        return f"{code}{self.message}{request}"


class ConnectionFailed(LlamaGPUError):
    """No answer came: the server is not there, or the connection broke or took too long."""


class StreamDiverged(LlamaGPUError):
    """The server had to begin the answer anew, and the new one differs from what was read already.

    Ask once more; with a `seed`, or `temperature` 0, the same answer comes.
    """


class InvalidInput(LlamaGPUError):
    """A field is wrong; `field` is its name, where one is to blame."""

    @property
    def field(self) -> str | None:
        """Such as `temperature`, or `inputs[3].id`."""
        if isinstance(self.details, list) and self.details and isinstance(self.details[0], dict):
            return self.details[0].get("field") or None
        return None


class ContextLengthExceeded(InvalidInput):
    """Prompt and answer do not fit the model."""


class AuthenticationFailed(LlamaGPUError):
    """No key, or one that the server does not know."""


class PermissionDenied(LlamaGPUError):
    """The key or its owner may not do this."""


class NotFound(LlamaGPUError):
    """It is not there, or not for this caller."""


class ModelNotFound(NotFound):
    """There is no such model, or none that this key may use."""


class JobNotFound(NotFound):
    """There is no such job of this caller."""


class PluginNotFound(NotFound):
    """There is no such plugin."""


class PluginRefused(LlamaGPUError):
    """A plugin of the server refused the request; the message says which one, and its reason."""


class Conflict(LlamaGPUError):
    """It contradicts what is there, for example an Idempotency-Key of another call."""


class ContentTooLarge(LlamaGPUError):
    """The body is larger than the server accepts."""


class RateLimited(LlamaGPUError):
    """Too many requests; `retry_after` says when to come again."""


class QuotaExceeded(RateLimited):
    """The tokens of the minute, the day or the month are used up."""


class QueueFull(RateLimited):
    """Too many jobs wait at the server."""


class Unavailable(LlamaGPUError):
    """No worker, no memory, or something behind the server is away."""


class DeadlineExceeded(LlamaGPUError):
    """The job did not end in its time."""


class Cancelled(LlamaGPUError):
    """The job was ended before it was done."""


class ServerError(LlamaGPUError):
    """The job, a load or the server itself failed."""


_BY_CODE: dict[str, type[LlamaGPUError]] = {
    "INVALID_INPUT": InvalidInput,
    "CONTEXT_LENGTH_EXCEEDED": ContextLengthExceeded,
    "AUTHENTICATION_FAILED": AuthenticationFailed,
    "PERMISSION_DENIED": PermissionDenied,
    "NOT_FOUND": NotFound,
    "MODEL_NOT_FOUND": ModelNotFound,
    "JOB_NOT_FOUND": JobNotFound,
    "PLUGIN_NOT_FOUND": PluginNotFound,
    "PLUGIN_REFUSED": PluginRefused,
    "CONFLICT": Conflict,
    "CONTENT_TOO_LARGE": ContentTooLarge,
    "RATE_LIMIT_EXCEEDED": RateLimited,
    "QUOTA_EXCEEDED": QuotaExceeded,
    "QUEUE_FULL": QueueFull,
    "INSUFFICIENT_MEMORY": Unavailable,
    "BACKEND_UNAVAILABLE": Unavailable,
    "NO_WORKER": Unavailable,
    "PLUGIN_FAILED": Unavailable,
    "DEADLINE_EXCEEDED": DeadlineExceeded,
    "CANCELLED": Cancelled,
}
# For answers without a code of ours, such as a proxy's.
_BY_STATUS: dict[int, type[LlamaGPUError]] = {
    400: InvalidInput,
    401: AuthenticationFailed,
    403: PermissionDenied,
    404: NotFound,
    409: Conflict,
    413: ContentTooLarge,
    429: RateLimited,
    502: Unavailable,
    503: Unavailable,
    504: DeadlineExceeded,
}


def error_from(
    body: Any,
    *,
    status: int | None = None,
    retry_after: float | None = None,
    request_id: str | None = None,
    job_id: str | None = None,
) -> LlamaGPUError:
    """The error that an answer's body, or the data of an `error` event, tells of."""
    told = body.get("error") if isinstance(body, dict) else None
    told = told if isinstance(told, dict) else {}
    code = str(told.get("code", ""))
    of_status = _BY_STATUS.get(
        status or 0, ServerError if (status or 500) >= 500 else LlamaGPUError
    )
    return _BY_CODE.get(code, of_status)(
        str(told.get("message") or f"The server answered with status {status}."),
        code=code,
        details=told.get("details"),
        request_id=request_id or (body.get("request_id") if isinstance(body, dict) else None),
        status=status,
        retry_after=retry_after,
        job_id=job_id,
    )
