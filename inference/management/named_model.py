"""What the commands about models share: the model that an argument names, and plain tables."""

from __future__ import annotations

from collections.abc import Sequence

from django.core.management.base import CommandError

from inference.models import Model
from llamagpu.lib.memory import format_gib


def named_model(slug: str) -> Model:
    """Raises CommandError naming the models that there are."""
    models = Model.objects.known()
    model = models.filter(slug=slug).first()
    if model is None:
        known = ", ".join(models.values_list("slug", flat=True)) or "none"
        raise CommandError(f"there is no model '{slug}'; there are: {known}")
    return model


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Columns as wide as their widest cell, two spaces apart."""
    lines = [list(head), *(list(row) for row in rows)]
    widths = [max(len(line[index]) for line in lines) for index in range(len(head))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    )


def gib(num_bytes: int | None) -> str:
    return f"{format_gib(num_bytes)} GiB" if num_bytes else "-"
