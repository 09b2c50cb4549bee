"""Writes of stored responses."""

from __future__ import annotations

import uuid
from typing import Any

from inference.models import StoredResponse


def keep_response(*, job_id: str, settings: dict[str, Any], tool_use: dict[str, Any]) -> None:
    """Let a job's answer be read again. A job that is kept already stays as it is."""
    StoredResponse.objects.get_or_create(
        job_id=uuid.UUID(job_id), defaults={"settings": settings, "tool_use": tool_use}
    )


def forget_response(row: StoredResponse) -> None:
    """The answer is found no more under `/v1/responses`; its job stays as long as it would have."""
    row.delete()
