"""Dates and times: precision kept, offsets from the field, the message or the channel, never from the server."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.mapping.values.local_time import LocalTimes


def times(zone: str = "Asia/Kolkata", message_time: str = "") -> tuple[LocalTimes, list[str]]:
    codes: list[str] = []
    return LocalTimes(message_time, zone, lambda code, *_: codes.append(code)), codes


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


def test_an_offset_of_nothing_is_written_with_a_plus() -> None:
    made, codes = times("Europe/London")
    assert made.datetime("20260115120000") == "2026-01-15T12:00:00+00:00"
    assert codes == []
    assert made.datetime("20260329013000") == "2026-03-29T01:30:00+00:00"  # the clocks leave this hour out
    assert codes == ["AMBIGUOUS_TIME"]


@pytest.mark.parametrize(
    ("offset", "expected"), [("+1400", "+14:00"), ("-1200", "-12:00"), ("+0545", "+05:45"), ("+0530", "+05:30")]
)
def test_an_offset_that_exists_is_kept(offset: str, expected: str) -> None:
    made, codes = times("Europe/Berlin")
    assert made.datetime(f"20260301101530{offset}") == f"2026-03-01T10:15:30{expected}"
    assert codes == []


@pytest.mark.parametrize("offset", ["+1500", "-2359", "+0560", "+0099"])
def test_an_offset_that_nobody_has_gives_way_to_the_channels_zone(offset: str) -> None:
    made, codes = times("Europe/Berlin")
    assert made.datetime(f"20260301101530{offset}") == "2026-03-01T10:15:30+01:00"
    assert codes == ["BAD_OFFSET"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("19800101", "1980-01-01"),
        ("19801231", "1980-12-31"),
        ("19800228", "1980-02-28"),
        ("19800229", "1980-02-29"),
        ("1980", "1980"),
        ("198004", "1980-04"),
        ("1980041203", "1980-04-12"),
        ("198004120310", "1980-04-12"),
        ("19810229", None),
        ("19801301", None),
        ("19800012", "1980"),
        ("00001231", None),
        ("", None),
    ],
)
def test_a_date_has_the_precision_that_was_sent(text: str, expected: str | None) -> None:
    made, _ = times()
    assert made.date(text) == expected


def test_the_second_that_tells_results_apart_has_its_offset() -> None:
    made, _ = times("Asia/Kolkata")
    assert made.second("20260301101530") == "2026-03-01T10:15:30+05:30"
    assert made.second("20260301101530+0000") == "2026-03-01T10:15:30+00:00"
    assert made.second("") == ""
    assert made.second("noon") == ""


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
    assert made.day("20260301233000.5+0000") == "20260302"  # a fraction of a second moves no day
    assert made.day("20260301233000.5") == "20260301"
    with_offset, _ = times("Asia/Kolkata", "20260301233000+0000")
    assert with_offset.day("20260301233000") == "20260302"


def test_what_was_not_understood_is_said() -> None:
    made, codes = times()
    made.datetime("31.12.2025")
    made.datetime("2026030110")
    made.datetime("20260301101530+9900")
    assert codes == ["BAD_DATE", "HOUR_ONLY", "BAD_OFFSET"]


@pytest.mark.parametrize(
    "text", ["20260231", "20261301", "20260301251530", "20260301107530", "20260301101575", "00001231", "20263"]
)
def test_what_is_no_date_is_said_and_never_in_the_words_that_were_sent(text: str) -> None:
    told: list[tuple[str, str]] = []
    LocalTimes("", "Asia/Kolkata", lambda code, words, _: told.append((code, words))).datetime(text)
    assert [code for code, _ in told] == ["BAD_DATE"]
    assert text not in told[0][1]


@given(st.text(alphabet="0123456789+-.", max_size=24))
def test_any_text_gives_a_fhir_time_or_nothing(text: str) -> None:
    made, _ = times("America/New_York", "20260301")
    found = made.datetime(text)
    assert found is None or found[:4].isdigit()
    assert found is None or len(found) in (4, 7, 10) or found[10] == "T"


def test_other_digits_are_no_time_behind_a_time_of_the_same_hour() -> None:
    other = "20260301094²00"
    alone, _ = times()
    behind, codes = times()
    assert behind.datetime("20260301091000") == "2026-03-01T09:10:00+05:30"
    assert behind.datetime(other) == alone.datetime(other)
    assert codes == ["BAD_DATE"]
