"""Log lines: one line each whatever the message holds, with the request id; text or JSON."""

from __future__ import annotations

import json
import logging
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Any

#: The id of the HTTP request that the current context serves; empty outside of one.
current_request_id: ContextVar[str] = ContextVar("current_request_id", default="")


class TextFormatter(logging.Formatter):
    """For people. Line breaks of a message are escaped: nobody can forge a second line."""

    def format(self, record: logging.LogRecord) -> str:
        time = datetime.fromtimestamp(record.created, tz=UTC).strftime("%H:%M:%S.%f")[:-3]
        request_id = current_request_id.get()
        where = f"{record.name} [{request_id}]" if request_id else record.name
        message = record.getMessage().replace("\r", "\\r").replace("\n", "\\n")
        line = f"{time} {record.levelname.lower():<7} {where}: {message}"
        return f"{line}\n{self.formatException(record.exc_info)}" if record.exc_info else line


class JsonFormatter(logging.Formatter):
    """For programs: one JSON object a line."""

    def format(self, record: logging.LogRecord) -> str:
        fields: dict[str, Any] = {
            "timestamp": datetime.fromtimestamp(record.created, tz=UTC).isoformat(),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
            "process": record.process,
        }
        if current_request_id.get():
            fields["request_id"] = current_request_id.get()
        if record.exc_info:
            fields["exception"] = self.formatException(record.exc_info)
        return json.dumps(fields, ensure_ascii=False)


def logging_config(level: str, style: str) -> dict[str, Any]:
    """`settings.LOGGING`: everything to stderr; `style` is text or json."""
    formatter = JsonFormatter if style == "json" else TextFormatter
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {"line": {"()": formatter}},
        "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "line"}},
        "root": {"handlers": ["stderr"], "level": level},
        "loggers": {
            "django": {"handlers": [], "level": level, "propagate": True},
            "django.server": {"handlers": [], "level": level, "propagate": True},
            # Celery's own start-up and per-task lines say what our log says better.
            "celery": {"level": "WARNING"},
            "kombu": {"level": "WARNING"},
            "daphne": {"level": "WARNING"},
            # Four lines for every sign-in, which the audit log tells in one.
            "axes": {"level": "WARNING"},
            # A line with its address for every request to an upstream.
            "httpx": {"level": "WARNING"},
            "httpcore": {"level": "WARNING"},
        },
    }
