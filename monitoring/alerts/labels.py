"""Labels of what is measured: which a rule or a silence means, and one short name for each set."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping


def matches(pattern: Mapping[str, str], labels: Mapping[str, str]) -> bool:
    """Whether every label that `pattern` names has that value; `worker:*` stands for a beginning."""
    return all(_fits(text, labels.get(name)) for name, text in pattern.items())


def _fits(text: str, value: str | None) -> bool:
    if value is None:
        return False
    return value.startswith(text[:-1]) if text.endswith("*") else value == text


def fingerprint(rule_id: int, labels: Mapping[str, str]) -> str:
    """The same for the same rule and labels, in every process."""
    text = json.dumps([rule_id, sorted(labels.items())], ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def in_words(labels: Mapping[str, str]) -> str:
    """`node a, gpu 0`"""
    return ", ".join(f"{name} {value}" for name, value in labels.items())
