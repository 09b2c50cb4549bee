"""Tables as CSV."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rest_framework.renderers import BaseRenderer

from llamagpu.lib.csv_lines import csv_line


class CsvRenderer(BaseRenderer):
    """`{"columns": [...], "results": [{...}]}` as lines, the head first. `?format=csv` chooses it."""

    media_type = "text/csv"
    format = "csv"
    charset = "utf-8"

    def render(
        self,
        data: Any,
        accepted_media_type: str | None = None,
        renderer_context: Mapping[str, Any] | None = None,
    ) -> str:
        columns = data["columns"]
        rows = ([row[column] for column in columns] for row in data["results"])
        return csv_line(columns) + "".join(csv_line(row) for row in rows)
