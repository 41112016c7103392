"""Dates and times: precision kept, offsets from the field, the message or the channel, never from the server."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.mapping.local_time import LocalTimes


def times(zone: str = "Asia/Kolkata", message_time: str = "") -> tuple[LocalTimes, list[str]]:
    codes: list[str] = []
    return LocalTimes(message_time, zone, lambda code, _: codes.append(code)), codes


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2026", "2026"),
        ("202603", "2026-03"),
        ("20260301", "2026-03-01"),
        ("20260301+0530", "2026-03-01"),
        ("2026030110", "2026-03-01"),  # an hour alone would have to invent minutes
        ("202603011015", "2026-03-01T10:15:00+05:30"),
        ("20260301101530", "2026-03-01T10:15:30+05:30"),
        ("20260301101530.25", "2026-03-01T10:15:30.25+05:30"),
        ("20260301101530+0100", "2026-03-01T10:15:30+01:00"),
        ("20260301101530-0330", "2026-03-01T10:15:30-03:30"),
        ("00000000", None),
        ("0000", None),
        ("20260000", "2026"),
        ("20260300", "2026-03"),
        ("20260231", None),
        ("20261301", None),
        ("20240229", "2024-02-29"),
        ("20260301251530", "2026-03-01"),
        ("20260301107530", "2026-03-01"),
        ("2026-03-01", None),
        ("yesterday", None),
        ("２０２６", None),
        ("", None),
    ],
)
def test_datetime(text: str, expected: str | None) -> None:
    made, _ = times()
    assert made.datetime(text) == expected
    assert made.datetime(text) == expected  # the second time from memory


def test_offset_of_the_message_counts_before_the_channels_zone() -> None:
    made, codes = times("Asia/Kolkata", "20260301101530+0200")
    assert made.datetime("20260301091500") == "2026-03-01T09:15:00+02:00"
    assert made.datetime("20260301091501") == "2026-03-01T09:15:01+02:00"
    assert made.datetime("20260301091500-0500") == "2026-03-01T09:15:00-05:00"
    assert codes == []


def test_daylight_saving_is_that_of_the_local_time() -> None:
    made, codes = times("Europe/Berlin")
    assert made.datetime("20260115120000") == "2026-01-15T12:00:00+01:00"
    assert made.datetime("20260715120000") == "2026-07-15T12:00:00+02:00"
    assert codes == []


def test_a_double_or_missing_local_time_is_the_first_with_a_warning() -> None:
    made, codes = times("Europe/Berlin")
    assert made.datetime("20261025023000") == "2026-10-25T02:30:00+02:00"
    assert made.datetime("20260329023000") == "2026-03-29T02:30:00+01:00"
    assert codes == ["AMBIGUOUS_TIME", "AMBIGUOUS_TIME"]
    assert made.datetime("20261025013000") == "2026-10-25T01:30:00+02:00"
    assert made.datetime("20261025033000") == "2026-10-25T03:30:00+01:00"


def test_an_instant_needs_seconds() -> None:
    made, _ = times()
    assert made.instant("20260301101530") == "2026-03-01T10:15:30+05:30"
    assert made.instant("202603011015") is None
    assert made.instant("20260301") is None
    assert made.instant("20260301101530.1234-0100") == "2026-03-01T10:15:30.1234-01:00"


def test_the_day_of_a_measurement_is_the_channels() -> None:
    made, _ = times("Asia/Kolkata")
    assert made.day("20260301233000+0000") == "20260302"
    assert made.day("20260301233000") == "20260301"
    assert made.day("20260301") == "20260301"
    assert made.day("202603") == ""
    assert made.day("") == ""
    with_offset, _ = times("Asia/Kolkata", "20260301233000+0000")
    assert with_offset.day("20260301233000") == "20260302"


def test_what_was_not_understood_is_said() -> None:
    made, codes = times()
    made.datetime("31.12.2025")
    made.datetime("2026030110")
    made.datetime("20260301101530+9900")
    assert codes == ["BAD_DATE", "HOUR_ONLY", "BAD_OFFSET"]


@given(st.text(alphabet="0123456789+-.", max_size=24))
def test_any_text_gives_a_fhir_time_or_nothing(text: str) -> None:
    made, _ = times("America/New_York", "20260301")
    found = made.datetime(text)
    assert found is None or found[:4].isdigit()
    assert found is None or len(found) in (4, 7, 10) or found[10] == "T"
