"""Takes personal data out of prompts and answers, also where it comes in several pieces."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from plugins_app.base import BasePlugin, ChunkContext, Message, PromptContext

from .finders import KINDS
from .redaction import Redactor

PLUGIN_METADATA = {
    "name": "PII redactor",
    "version": "1.0.0",
    "author": "LLaMA GPU",
    "description": "Replaces e-mail addresses, phone numbers, IBANs, card numbers (by their check "
    "digit), IP addresses and what patterns of your own find. It goes by form alone: names and "
    "addresses in words stay.",
    "dependencies": ["regex"],
    "compatibility": ["cuda", "rocm", "cpu"],
    "category": "pre_processor",
    "hooks": ["prompt", "chunk"],
}
SETTINGS_SCHEMA = {
    "type": "object",
    "properties": {
        "kinds": {
            "type": "array",
            "items": {"enum": ["email", "iban", "card", "ip", "phone"]},
            "uniqueItems": True,
            "default": ["email", "iban", "card", "ip", "phone"],
        },
        "patterns": {
            "description": "regular expressions of your own, by the name that stands in their place",
            "type": "array",
            "maxItems": 20,
            "default": [],
            "items": {
                "type": "object",
                "properties": {
                    "name": {"type": "string", "pattern": "^[A-Za-z0-9_-]{1,40}$"},
                    "pattern": {"type": "string", "minLength": 1, "maxLength": 500},
                },
                "required": ["name", "pattern"],
                "additionalProperties": False,
            },
        },
        "placeholder": {
            "description": "what is written instead; {kind} is EMAIL, IBAN and so on",
            "type": "string",
            "maxLength": 100,
            "default": "[{kind}]",
        },
        "prompt": {"type": "boolean", "default": True},
        "answer": {"type": "boolean", "default": True},
    },
}


class PiiRedactor(BasePlugin):
    metadata = PLUGIN_METADATA

    def initialize(self) -> bool:
        config = self.config
        patterns = {item["name"]: item["pattern"] for item in config["patterns"]}
        kinds = [kind for kind in KINDS if kind in config["kinds"]]
        self._redactor = Redactor(kinds, patterns, config["placeholder"])
        return True

    def execute(self, input_data: Any) -> Any:
        if isinstance(input_data, PromptContext):
            return self._prompt(input_data) if self.config["prompt"] else input_data
        return self._chunk(input_data) if self.config["answer"] else input_data

    def _prompt(self, context: PromptContext) -> PromptContext:
        redact = self._redactor.redact
        if context.messages is None:
            return replace(context, text=redact(context.text or ""))
        turns = tuple(Message(turn.role, redact(turn.content)) for turn in context.messages)
        return replace(context, messages=turns)

    def _chunk(self, context: ChunkContext) -> ChunkContext:
        text = context.state.get("held", "") + context.text
        cut = len(text) if context.is_last else self._redactor.settled(text)
        state = {"held": text[cut:]} if cut < len(text) else {}
        return replace(context, text=self._redactor.redact(text[:cut]), state=state)
