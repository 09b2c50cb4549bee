"""An example to copy: tidies up prompts before the tokenizer reads them.

Copied text is full of characters that nobody sees and every tokenizer spends tokens on: zero-width
blanks, soft hyphens, typographic spaces. This plugin writes them in one way. It is a model adapter:
it runs first, once for a request, and what it returns is what other plugins and the model read.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import replace
from typing import Any

# The one import from the portal that a plugin has: everything else is its own.
from plugins_app.base import AdaptContext, BasePlugin, Message

# Read without running this file, so it must be a literal. docs/plugins.md explains each key.
PLUGIN_METADATA = {
    "name": "Custom tokenizer",
    "version": "1.0.0",
    "author": "LLaMA GPU",
    "description": "Example: a normaliser ahead of the tokenizer. No invisible characters, one kind "
    "of blank, one spelling of equal characters.",
    "dependencies": [],
    "compatibility": ["cuda", "rocm", "cpu"],
    "category": "model_adapter",
}
# JSON Schema; the portal checks settings against it and fills in the defaults.
SETTINGS_SCHEMA = {
    "type": "object",
    "properties": {
        "form": {"enum": ["NFC", "NFKC"], "default": "NFC"},
        "collapse_blanks": {
            "description": "several blanks in a row become one; code keeps its indentation",
            "type": "boolean",
            "default": False,
        },
    },
}

_INVISIBLE = re.compile("[\u00ad\u200b\u2060\ufeff]")
_ODD_BLANKS = re.compile("[\u00a0\u2000-\u200a\u202f\u205f\u3000]")
_BLANKS_IN_A_LINE = re.compile(r"(?<=\S) {2,}")


class CustomTokenizer(BasePlugin):
    def execute(self, input_data: AdaptContext) -> AdaptContext:
        """Contexts are never changed in place: `dataclasses.replace` makes a copy."""
        if input_data.messages is not None:
            turns = tuple(Message(m.role, self._tidy(m.content)) for m in input_data.messages)
            return replace(input_data, messages=turns)
        if input_data.text is not None:
            return replace(input_data, text=self._tidy(input_data.text))
        return input_data  # a prompt of token ids has no words

    @property
    def metadata(self) -> dict[str, Any]:
        return PLUGIN_METADATA

    def _tidy(self, text: str) -> str:
        text = _ODD_BLANKS.sub(" ", _INVISIBLE.sub("", text))
        if self.config["collapse_blanks"]:
            text = _BLANKS_IN_A_LINE.sub(" ", text)
        return unicodedata.normalize(self.config["form"], text)
