"""Log lines: one line each whatever the message holds, with the request id; text or JSON."""

from __future__ import annotations

import json
import logging
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Any

from llamagpu.lib.log_text import clean, clean_lines

#: The id of the HTTP request that the current context serves; empty outside of one.
current_request_id: ContextVar[str] = ContextVar("current_request_id", default="")

_component = ""


def name_component(name: str) -> None:
    """What this process is: web, worker, monitor. Its lines say so from now on."""
    global _component
    _component = name


def fields_of(record: logging.LogRecord) -> dict[str, Any]:
    """What a line tells, cleaned. A record of another process carries its own component and request."""
    fields: dict[str, Any] = {
        "timestamp": datetime.fromtimestamp(record.created, tz=UTC).isoformat(),
        "level": record.levelname,
        "component": getattr(record, "component", _component),
        "logger": record.name,
        "message": clean(record.getMessage()),
        "process": record.process,
    }
    request_id = getattr(record, "request_id", "") or current_request_id.get()
    if request_id:
        fields["request_id"] = request_id
    if record.exc_info:
        fields["exception"] = clean_lines(logging.Formatter().formatException(record.exc_info))
    elif record.exc_text:
        fields["exception"] = clean_lines(record.exc_text)
    return fields


class TextFormatter(logging.Formatter):
    """For people. Line breaks of a message are escaped: nobody can forge a second line."""

    def format(self, record: logging.LogRecord) -> str:
        fields = fields_of(record)
        time = datetime.fromtimestamp(record.created, tz=UTC).strftime("%H:%M:%S.%f")[:-3]
        request_id = fields.get("request_id")
        where = f"{record.name} [{request_id}]" if request_id else record.name
        line = f"{time} {record.levelname.lower():<7} {where}: {fields['message']}"
        return f"{line}\n{fields['exception']}" if "exception" in fields else line


class JsonFormatter(logging.Formatter):
    """For programs: one JSON object a line."""

    def format(self, record: logging.LogRecord) -> str:
        return json.dumps(fields_of(record), ensure_ascii=False)


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
