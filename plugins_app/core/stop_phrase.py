"""Looks for phrases in answers as they come: ends the answer there, replaces them, or refuses."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from plugins_app.base import BasePlugin, ChunkContext, PluginRefusal

PLUGIN_METADATA = {
    "name": "Stop phrase",
    "version": "1.0.0",
    "author": "LLaMA GPU",
    "description": "Ends an answer before one of its phrases, puts other words in their place, or "
    "refuses the answer; also where a phrase comes in several pieces.",
    "dependencies": [],
    "compatibility": ["cuda", "rocm", "cpu"],
    "category": "stream_filter",
}
SETTINGS_SCHEMA = {
    "type": "object",
    "properties": {
        "phrases": {
            "type": "array",
            "items": {"type": "string", "minLength": 1, "maxLength": 200},
            "minItems": 1,
            "maxItems": 200,
        },
        "action": {"enum": ["cut", "replace", "refuse"], "default": "cut"},
        "replacement": {"type": "string", "maxLength": 200, "default": "[removed]"},
        "ignore_case": {"type": "boolean", "default": True},
    },
    "required": ["phrases"],
}


class StopPhrase(BasePlugin):
    metadata = PLUGIN_METADATA

    def initialize(self) -> bool:
        self._phrases = sorted({self._folded(p) for p in self.config["phrases"]}, key=len)[::-1]
        self._starts = {phrase[0] for phrase in self._phrases}
        return True

    def execute(self, input_data: ChunkContext) -> ChunkContext:
        if input_data.state.get("is_cut"):
            return replace(input_data, text="")
        text = input_data.state.get("held", "") + input_data.text
        shown, at, is_cut = [], 0, False
        for place, phrase in self._found(text, is_last=input_data.is_last):
            if phrase is None:  # what stands here may become one
                shown.append(text[at:place])
                return replace(input_data, text="".join(shown), state={"held": text[place:]})
            shown.append(text[at:place])
            at = place + len(phrase)
            if is_cut := self._act(shown):
                return replace(input_data, text="".join(shown), state={"is_cut": is_cut})
        shown.append(text[at:])
        return replace(input_data, text="".join(shown), state={})

    def _act(self, shown: list[str]) -> bool:
        """Whether the answer ends here."""
        if self.config["action"] == "refuse":
            raise PluginRefusal("the answer holds words that may not be given out")
        if self.config["action"] == "cut":
            return True
        shown.append(self.config["replacement"])
        return False

    def _found(self, text: str, *, is_last: bool) -> Any:
        """(place, phrase) from left to right, the longest first; at the end (place, None) for one that
        may be growing."""
        folded = self._folded(text)
        at = 0
        while at < len(folded):
            if folded[at] not in self._starts:
                at += 1
                continue
            growing = not is_last and any(
                len(phrase) > len(folded) - at and phrase.startswith(folded[at:])
                for phrase in self._phrases
            )
            if growing:
                yield at, None
                return
            phrase = next((p for p in self._phrases if folded.startswith(p, at)), None)
            if phrase is not None:
                yield at, phrase
            at += len(phrase or " ")

    def _folded(self, text: str) -> str:
        """As long as the text: what grows in small letters stays as it is."""
        if not self.config["ignore_case"]:
            return text
        small = text.lower()
        if len(small) == len(text):
            return small
        return "".join(c if len(c.lower()) != 1 else c.lower() for c in text)
