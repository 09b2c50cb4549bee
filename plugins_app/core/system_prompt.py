"""Puts a system prompt of the operator's in front of what callers send."""

from __future__ import annotations

from dataclasses import replace

from plugins_app.base import BasePlugin, Message, PromptContext

PLUGIN_METADATA = {
    "name": "System prompt",
    "version": "1.0.0",
    "author": "LLaMA GPU",
    "description": "Gives every conversation a system prompt: before the caller's own, in its place, or "
    "where there is none.",
    "dependencies": [],
    "compatibility": ["cuda", "rocm", "cpu"],
    "category": "pre_processor",
}
SETTINGS_SCHEMA = {
    "type": "object",
    "properties": {
        "text": {"type": "string", "minLength": 1, "maxLength": 20000},
        "mode": {
            "description": "what becomes of a system prompt that the caller sent",
            "enum": ["before", "replace", "if_missing"],
            "default": "before",
        },
        "plain_text": {
            "description": "whether prompts that are one text get it too, as their first paragraph",
            "type": "boolean",
            "default": True,
        },
    },
    "required": ["text"],
}


class SystemPrompt(BasePlugin):
    metadata = PLUGIN_METADATA

    def execute(self, input_data: PromptContext) -> PromptContext:
        if input_data.messages is not None:
            return replace(input_data, messages=self._introduced(input_data.messages))
        if not self.config["plain_text"]:
            return input_data
        return replace(input_data, text=f"{self.config['text']}\n\n{input_data.text}")

    def _introduced(self, messages: tuple[Message, ...]) -> tuple[Message, ...]:
        text, mode = self.config["text"], self.config["mode"]
        if messages[0].role != "system":
            return (Message("system", text), *messages)
        if mode == "if_missing":
            return messages
        if mode == "before":
            text = f"{text}\n\n{messages[0].content}"
        return (Message("system", text), *messages[1:])
