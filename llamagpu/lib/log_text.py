"""Makes words fit for a log: one line, no orders to a terminal, no keys and passwords."""

from __future__ import annotations

import re

REDACTED = "[redacted]"
#: Characters of one line; a traceback may have as many once more.
MAX_LENGTH = 8000

# Control characters, also those of the second block, and what some readers take for a line's end.
_CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\t\n]")
_SHORT = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}
_SECRETS = (
    # Keys of ours and of those whose API we speak.
    (re.compile(r"\blg_[0-9A-Za-z]{8}_[0-9A-Za-z]{8,}"), REDACTED),
    (re.compile(r"\b(?:sk|hf)[-_][0-9A-Za-z_-]{16,}"), REDACTED),
    (re.compile(r"(?i)\b(bearer|basic)\s+[0-9A-Za-z._~+/=-]{8,}"), rf"\1 {REDACTED}"),
    # user:password@ in an address.
    (re.compile(r"(?i)\b([a-z][a-z0-9+.-]*://)[^\s/@:]*:[^\s/@]+@"), rf"\1{REDACTED}@"),
    # name=value and "name": "value", where the name says that the value is one.
    (
        re.compile(
            r"(?i)(\b[\w-]*(?:password|passwd|secret|api[_-]?key|token|authorization|cookie|pepper)"
            r"[\"']?\s*[=:]\s*)(\"[^\"]*\"|'[^']*'|[^\s,;&\"')}\]]+)"
        ),
        rf"\1{REDACTED}",
    ),
)


def redact(text: str) -> str:
    """Without what looks like a secret. Numbers of tokens are none."""
    for pattern, replacement in _SECRETS:
        text = pattern.sub(lambda found: _replaced(found, replacement), text)  # noqa: B023
    return text


def one_line(text: str) -> str:
    """Control characters written out, so that nobody forges a second line or moves a cursor."""
    return _CONTROL.sub(lambda found: _SHORT.get(found[0]) or _written(found[0]), text)


def clean(text: str) -> str:
    """All of it, and no longer than a line may be."""
    text = text.encode("utf-8", "replace").decode("utf-8")
    if len(text) > MAX_LENGTH:
        text = text[: MAX_LENGTH - 1] + "…"
    return one_line(redact(text))


def clean_lines(text: str) -> str:
    """A traceback: its lines stay, each of them clean and set in, so that none looks like the log's."""
    lines = text[: 2 * MAX_LENGTH].splitlines()
    return "\n".join(f"    {clean(line)}" for line in lines)


def _replaced(found: re.Match[str], replacement: str) -> str:
    value = found[found.lastindex or 0]
    return found[0] if found.re.groups == 2 and value.isdigit() else found.expand(replacement)


def _written(letter: str) -> str:
    code = ord(letter)
    return f"\\x{code:02x}" if code < 256 else f"\\u{code:04x}"
