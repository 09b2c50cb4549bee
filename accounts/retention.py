"""What is kept of somebody's jobs: the user's policy, else the configuration's; a key's only if less."""

from __future__ import annotations

from llamagpu.http.errors import AppError
from llamagpu.lib.error_codes import ErrorCode
from llamagpu.lib.retention import Retention
from monitoring.configuration import current


def check_retention(text: str) -> Retention:
    """The policy that `text` spells. Raises AppError INVALID_INPUT that names the field."""
    try:
        return Retention.parse(text)
    except ValueError as error:
        message = str(error)
        raise AppError(
            ErrorCode.INVALID_INPUT,
            f"retention: {message}",
            details=[{"field": "retention", "message": message}],
        ) from error


def retention_of(user_policy: str, key_policy: str) -> Retention:
    """What holds for a job, by the columns of its owner and its key; empty where none is set."""
    policy = Retention.parse(user_policy) if user_policy else current().job_retention
    return policy.or_stricter(Retention.parse(key_policy)) if key_policy else policy
