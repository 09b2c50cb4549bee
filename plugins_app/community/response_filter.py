"""An example to copy: hides words in answers while they are streamed.

The point of it is the border between two pieces: "pass" may come first and "word" next. So the last
word of what has come is held back in `state` until it is certain, and the last piece gives out all.
"""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

from plugins_app.base import BasePlugin, ChunkContext

PLUGIN_METADATA = {
    "name": "Response filter",
    "version": "1.0.0",
    "author": "LLaMA GPU",
    "description": "Example: replaces words of a list in answers, streamed or not.",
    "dependencies": [],
    "compatibility": ["cuda", "rocm", "cpu"],
    "category": "stream_filter",
}
SETTINGS_SCHEMA = {
    "type": "object",
    "properties": {
        "words": {
            "type": "array",
            "items": {"type": "string", "pattern": "^\\w{1,100}$"},
            "maxItems": 500,
            "default": ["password"],
        },
        "replacement": {"type": "string", "maxLength": 100, "default": "***"},
    },
}

_LAST_WORD = re.compile(r"\w{1,200}\Z")


class ResponseFilter(BasePlugin):
    def initialize(self) -> bool:
        """Work that is the same for every request is done once. False keeps the plugin out."""
        words = "|".join(map(re.escape, self.config["words"]))
        self._pattern = re.compile(rf"\b(?:{words})\b" if words else r"(?!)", re.IGNORECASE)
        return True

    def execute(self, input_data: ChunkContext) -> ChunkContext:
        text = input_data.state.get("held", "") + input_data.text
        held = "" if input_data.is_last else self._growing(text)
        shown = self._pattern.sub(
            lambda _: self.config["replacement"], text[: len(text) - len(held)]
        )
        # An empty state says that nothing is held back.
        return replace(input_data, text=shown, state={"held": held} if held else {})

    @property
    def metadata(self) -> dict[str, Any]:
        return PLUGIN_METADATA

    def _growing(self, text: str) -> str:
        match = _LAST_WORD.search(text, max(0, len(text) - 200))
        return match[0] if match else ""
