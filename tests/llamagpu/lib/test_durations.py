from __future__ import annotations

from datetime import timedelta

import pytest

from llamagpu.lib.durations import parse_duration


@pytest.mark.parametrize(
    ("text", "length"),
    [
        ("45s", timedelta(seconds=45)),
        ("90m", timedelta(minutes=90)),
        ("12h", timedelta(hours=12)),
        ("30d", timedelta(days=30)),
        ("2w", timedelta(weeks=2)),
        (" 1D ", timedelta(days=1)),
        ("0", timedelta(0)),
        ("0s", timedelta(0)),
    ],
)
def test_a_length_is_a_number_and_a_unit(text: str, length: timedelta) -> None:
    assert parse_duration(text) == length


@pytest.mark.parametrize("text", ["", "d", "30", "-1d", "1.5h", "1 d", "1y", "1d1h", "9999999d"])
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="no length of time"):
        parse_duration(text)


def test_a_length_stays_within_what_a_date_can_hold() -> None:
    with pytest.raises(ValueError, match="hundred years"):
        parse_duration("999999w")
