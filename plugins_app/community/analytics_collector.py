"""An example to copy: counts how requests ended, by model and role.

An observer runs after callers have been answered, so it costs them nothing. It is told figures, never
words, and cannot change anything. What it prints goes to the worker's log under the plugin's name: it
has no network and no file of its own outlives it.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from typing import Any

from plugins_app.base import BasePlugin, FinishedContext

PLUGIN_METADATA = {
    "name": "Analytics collector",
    "version": "1.0.0",
    "author": "LLaMA GPU",
    "description": "Example: prints a line of JSON with counts by model and role after so many "
    "requests.",
    "dependencies": [],
    "compatibility": ["cuda", "rocm", "cpu"],
    "category": "observer",
}
SETTINGS_SCHEMA = {
    "type": "object",
    "properties": {
        "every": {
            "description": "requests between two lines",
            "type": "integer",
            "minimum": 1,
            "maximum": 1000000,
            "default": 100,
        },
    },
}


class AnalyticsCollector(BasePlugin):
    def initialize(self) -> bool:
        self._counts: dict[str, Counter[str]] = defaultdict(Counter)
        self._num_seen = 0
        return True

    def execute(self, input_data: FinishedContext) -> FinishedContext:
        counts = self._counts[f"{input_data.model} {input_data.role}"]
        counts["requests"] += 1
        counts["prompt_tokens"] += input_data.prompt_tokens
        counts["completion_tokens"] += input_data.completion_tokens
        counts[input_data.error_code or input_data.finish_reason] += 1
        self._num_seen += 1
        if self._num_seen % self.config["every"] == 0:
            self._tell()
        return input_data  # what an observer returns is ignored, but must be its context

    def cleanup(self) -> None:
        """Once, before it ends: within a few seconds, then its process is gone."""
        if self._num_seen % self.config["every"]:
            self._tell()

    @property
    def metadata(self) -> dict[str, Any]:
        return PLUGIN_METADATA

    def _tell(self) -> None:
        print(json.dumps(self._counts), flush=True)  # noqa: T201  its way to the log
