from __future__ import annotations

import csv
import io
from typing import Any

import pytest

from llamagpu.lib.csv_lines import csv_line


@pytest.mark.parametrize(
    "text", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "\n=1", "  =1", "\u00a0=1", "\ufeff=1"]
)
def test_what_could_be_a_formula_becomes_text(text: str) -> None:
    (cell,) = next(csv.reader(io.StringIO(csv_line([text]), newline="")))
    assert cell == f"'{text}"


@pytest.mark.parametrize(
    ("value", "cell"),
    [("plain", "plain"), (-5, "-5"), (0.5, "0.5"), (None, ""), (True, "True"), ('a,"b"', 'a,"b"')],
)
def test_other_values_stay(value: Any, cell: str) -> None:
    assert next(csv.reader(io.StringIO(csv_line([value])))) == [cell]
