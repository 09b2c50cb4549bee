"""Refuses prompts that are larger than the operator wants, before they cost anything."""

from __future__ import annotations

from plugins_app.base import BasePlugin, PluginRefusal, PromptContext

PLUGIN_METADATA = {
    "name": "Prompt size guard",
    "version": "1.0.0",
    "author": "LLaMA GPU",
    "description": "Bounds the characters of a prompt, of each message, and the number of messages; "
    "with models and roles of its own where these shall have other bounds.",
    "dependencies": [],
    "compatibility": ["cuda", "rocm", "cpu"],
    "category": "pre_processor",
}
SETTINGS_SCHEMA = {
    "type": "object",
    "properties": {
        "max_characters": {"type": "integer", "minimum": 1, "default": 20000},
        "max_message_characters": {
            "description": "of one message; 0: no bound of its own",
            "type": "integer",
            "minimum": 0,
            "default": 0,
        },
        "max_messages": {
            "description": "0: no bound",
            "type": "integer",
            "minimum": 0,
            "default": 0,
        },
    },
}


class PromptSizeGuard(BasePlugin):
    metadata = PLUGIN_METADATA

    def execute(self, input_data: PromptContext) -> PromptContext:
        messages = input_data.messages
        sizes = [len(turn.content) for turn in messages or ()] or [len(input_data.text or "")]
        self._check("the prompt", sum(sizes), self.config["max_characters"], "characters")
        if messages is not None:
            limit = self.config["max_message_characters"]
            self._check("a message", max(sizes), limit, "characters")
            limit = self.config["max_messages"]
            self._check("the conversation", len(messages), limit, "messages")
        return input_data

    def _check(self, what: str, size: int, limit: int, unit: str) -> None:
        if limit and size > limit:
            raise PluginRefusal(f"{what} has {size} {unit}, at most {limit} are accepted")
