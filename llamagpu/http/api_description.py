"""What the description says of every call alike: who may make it, its errors, headers and place.

It follows from what the view declares (`access`, `limit_group`, `takes_idempotency_key`), so that no
view says it by hand and none forgets it.
"""

from __future__ import annotations

import re
from typing import Any

from drf_spectacular.openapi import AutoSchema

from llamagpu.http.openai_errors import PREFIX as OPENAI
from llamagpu.http.permissions import Access, LimitGroup, Public, SignedIn, rule_for
from llamagpu.http.schema_words import ANY, TEXT, TIME, Schema, or_null, record

_WRITING = frozenset({"POST", "PUT", "PATCH", "DELETE"})
#: What can go wrong: the name of the answer's description and what it means.
PROBLEMS = {
    "400": ("InvalidInput", "Something of the call is wrong; the message names it."),
    "401": ("AuthenticationFailed", "No key, one that is not known, or one in the address."),
    "403": ("PermissionDenied", "The role, the key or the session may not do this."),
    "404": ("NotFound", "It is not there, or not for this caller."),
    "406": ("NotAcceptable", "The answer does not exist in a form that `Accept` allows."),
    "409": ("Conflict", "It contradicts what is there or was done before."),
    "413": ("ContentTooLarge", "The body is larger than the server accepts."),
    "415": ("UnsupportedMediaType", "The body is of another type than the call takes."),
    "429": (
        "TooManyRequests",
        "A rate, a quota or the queue is full; `Retry-After` says until when.",
    ),
    "431": ("HeadTooLong", "The address or a header is too long."),
    "499": ("Cancelled", "The job was ended by its owner, before it was done."),
    "500": ("Failed", "The job or the server failed; the request id finds it in the log."),
    "503": ("Unavailable", "No worker, no memory, or something behind the server is away."),
    "504": ("DeadlineExceeded", "The job did not end in its time."),
}
# What a docstring says first for who reads the code; here the call says it itself.
_ADDRESS = re.compile(
    r"(?:(?:GET|POST|PUT|PATCH|DELETE)(?:, | and | or | ))+/(?:\{[^}]*\}|[^\s:{])*[:.]?\s*"
)
_TAGS = {
    "infer": "inference", "stream_infer": "inference", "batch_infer": "batches", "requests": "jobs",
    "docs": "system", "schema": "system",
}  # fmt: skip
TAGS = {
    "inference": "Text from a model, in one piece or as a stream.",
    "batches": "Many inputs in one call.",
    "jobs": "What was asked, what became of it, and why it took so long.",
    "conversations": "Chats of the playground, kept for their owner.",
    "OpenAI": "The same for clients of OpenAI's API, in its words.",
    "models": "Models: registered, fetched, loaded, limited, removed.",
    "keys": "API keys.",
    "me": "The caller: rights, limits, profile.",
    "users": "Accounts.",
    "roles": "Roles and the matrix of rights.",
    "limits": "Rates and quotas of roles, users, keys and models.",
    "usage": "What was used.",
    "audit": "The audit log.",
    "plugins": "Plugins: loaded, ordered, configured, tried, approved.",
    "system": "State and configuration of the server.",
    "alerts": "Rules, what fires, silences, and who is told.",
    "benchmarks": "Measured speed.",
    "metrics": "For Prometheus.",
}


class ApiSchema(AutoSchema):
    """The generator's view of one view."""

    def get_tags(self) -> list[str]:
        if self.path.startswith(OPENAI):
            return ["OpenAI"]
        first = super().get_tags()[0]
        return [_TAGS.get(first, first)]

    def get_operation(self, *args: Any, **kwargs: Any) -> dict[str, Any] | None:
        operation: dict[str, Any] | None = super().get_operation(*args, **kwargs)
        if operation is None:
            return None
        said = _ADDRESS.sub("", operation.get("description") or "", count=1)
        said = said[:1].upper() + said[1:]
        operation["description"] = "\n\n".join(part for part in (said, self._who_may()) if part)
        answers = operation["responses"]
        # A view that has more of them names their status.
        for status in sorted({*self._problems(), *(PROBLEMS.keys() & answers.keys())}):
            name = PROBLEMS[status][0]
            door = "OpenAI" if self.path.startswith(OPENAI) else ""
            answers[status] = {"$ref": f"#/components/responses/{door}{name}"}
        for status, answer in answers.items():
            if "$ref" not in answer:
                answer["headers"] = {**answer.get("headers", {}), **_headers(self._headers(status))}
        return operation

    def _problems(self) -> set[str]:
        rule = rule_for(self.view, self.method)
        found = {"400", "401", "406", "429", "431", "500", "503"}
        if not isinstance(rule, Public):
            found |= {"403"}
        if "{" in self.path:
            found |= {"404"}
        if self.method in _WRITING:
            found |= {"403", "404", "409", "413", "415"}
        if self._generates:
            found |= {"499", "504"}
        return found

    @property
    def _generates(self) -> bool:
        return self.method == "POST" and self._group in (LimitGroup.INFERENCE, LimitGroup.BATCH)

    @property
    def _group(self) -> Any:
        """The class says it for the calls that make text; where it depends on the request, none is."""
        return getattr(type(self.view), "limit_group", LimitGroup.SYSTEM)

    def _headers(self, status: str) -> list[str]:
        names = ["X-Request-ID", "X-RateLimit-Limit", "X-RateLimit-Remaining", "X-RateLimit-Reset"]
        if self._generates and getattr(self.view, "takes_idempotency_key", False):
            names.append("Idempotent-Replayed")
        if self._generates and self._group is LimitGroup.INFERENCE and status == "200":
            names.append("X-Job-ID")
        return names

    def _who_may(self) -> str:
        rule = rule_for(self.view, self.method)
        if isinstance(rule, Access):
            return f"Needs the right `{rule.resource}: {rule.action}`, of a key the scope `{rule.scope}`."
        if isinstance(rule, SignedIn):
            return (
                f"Of a key needs the scope `{rule.scope}`." if rule.scope else "For every caller."
            )
        return "Open to everybody."


def _headers(names: list[str]) -> dict[str, Any]:
    return {name: {"$ref": f"#/components/headers/{name}"} for name in names}


_HEADERS: dict[str, tuple[Schema, str]] = {
    "X-Request-ID": (TEXT, "finds the call in the log, the jobs and the audit log"),
    "X-RateLimit-Limit": ({"type": "integer", "minimum": -1}, "calls a minute; -1: no limit"),
    "X-RateLimit-Remaining": (
        {"type": "integer", "minimum": -1},
        "what is left of them; -1: no limit",
    ),
    "X-RateLimit-Reset": ({"type": "integer", "minimum": 0}, "seconds until the minute is over"),
    "Retry-After": ({"type": "integer", "minimum": 0}, "seconds to wait before the next try"),
    "X-Job-ID": (TEXT, "the job of the call, told before the answer's first byte"),
    "Idempotent-Replayed": (
        {"type": "string", "const": "true"},
        "there where an earlier call with the same `Idempotency-Key` has made the answer",
    ),
}
_ERROR = record(
    success={"type": "boolean", "const": False},
    error=record(code=TEXT, message=TEXT, details=ANY),
    request_id=TEXT,
    timestamp=TIME,
)
_OPENAI_ERROR = record(error=record(message=TEXT, type=TEXT, param=or_null(TEXT), code=TEXT))
_EXAMPLE_CODES = {
    "400": "INVALID_INPUT", "401": "AUTHENTICATION_FAILED", "403": "PERMISSION_DENIED",
    "404": "NOT_FOUND", "406": "NOT_ACCEPTABLE", "409": "CONFLICT", "413": "CONTENT_TOO_LARGE",
    "415": "UNSUPPORTED_MEDIA_TYPE", "429": "RATE_LIMIT_EXCEEDED", "431": "INVALID_INPUT", "499": "CANCELLED",
    "500": "INFERENCE_FAILED", "503": "NO_WORKER", "504": "DEADLINE_EXCEEDED",
}  # fmt: skip


def complete(result: dict[str, Any], generator: Any, request: Any, public: bool) -> dict[str, Any]:
    """The generator's hook at the end: what operations refer to, and what describes the whole."""
    components = result["components"]
    # A caller who may see no operation has none of the generator's.
    components.setdefault("schemas", {}).update({"Error": _ERROR, "OpenAIError": _OPENAI_ERROR})
    components["headers"] = {
        name: {"schema": schema, "description": text} for name, (schema, text) in _HEADERS.items()
    }
    components["responses"] = {
        f"{door}{name}": _problem(door, status, text)
        for door in ("", "OpenAI")
        for status, (name, text) in PROBLEMS.items()
    }
    result["tags"] = [{"name": name, "description": text} for name, text in TAGS.items()]
    return result


def _problem(door: str, status: str, text: str) -> dict[str, Any]:
    names = ["X-Request-ID"] + (["Retry-After"] if status in ("429", "503") else [])
    example = _openai_example(status, text) if door else _example(status, text)
    content = {"schema": {"$ref": f"#/components/schemas/{door}Error"}, "example": example}
    return {
        "description": text,
        "headers": _headers(names),
        "content": {"application/json": content},
    }


def _example(status: str, text: str) -> dict[str, Any]:
    return {
        "success": False,
        "error": {"code": _EXAMPLE_CODES[status], "message": text, "details": None},
        "request_id": "req_5f0c2a7b9d1e4c6f8a0b2d4e",
        "timestamp": "2026-11-24T20:00:00+00:00",
    }


def _openai_example(status: str, text: str) -> dict[str, Any]:
    code = _EXAMPLE_CODES[status].lower()
    kind = "server_error" if int(status) >= 500 else "invalid_request_error"
    return {"error": {"message": text, "type": kind, "param": None, "code": code}}
