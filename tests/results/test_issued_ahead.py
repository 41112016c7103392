"""The time of a report (OBR-22, O-23): one that lies after its receipt is used for nothing, where all other times are
right. One of the past stays, for a report may be sent again.
"""

from pathlib import Path

import pytest

from tests.results.test_wrong_clocks import HELD, LAST_YEAR, SENT, TO_COME, TODAY, astm, clocks, oru, says, times_in

ISSUED = [
    (False, "hl7-results", "OBR-22"), (False, "hl7-oul-results", "OUL OBR-22"), (False, "abdm-report", "OBR-22"),
    (False, "own", "OBR-22"), (False, "hl7-to-csv", "OBR-22"), (True, "astm-results", "O-23"),
    (True, "astm-to-hl7", "O-23"), (True, "astm-to-json", "O-23"),
]  # fmt: skip
DAYS = ["20270321", "2027", "202612", "20260302"]


@pytest.mark.parametrize(
    ("is_astm", "mapping", "fields", "day"),
    [*((*one, TO_COME) for one in ISSUED), *((*one, day) for one in (ISSUED[0], ISSUED[5]) for day in DAYS)],
)
def test_a_report_that_is_issued_ahead_is_as_any_time_that_cannot_be(
    tmp_path: Path, is_astm: bool, mapping: str, fields: str, day: str
) -> None:
    """The time of measurement is right, and stays."""
    made = astm if is_astm else oru
    with clocks(tmp_path, mapping, astm=is_astm) as desk:
        assert [says(desk, made(number, day, *fields.split())) for number in (1, 2)] == [HELD] * 2
        desk.decide("release", first := desk.last)
        assert says(desk, made(4, day, *fields.split())) == SENT
        for message in (first, desk.last):
            desk.last = message
            (document,) = desk.documents()
            assert {time.replace("-", "")[:8] for time in times_in(document)} == {TODAY}, document
            assert mapping == "own" or f"a time that cannot be right; it was left out: {day}" in document
            assert "-results" not in mapping or "effectiveDateTime" in document
        assert says(desk, made(5, TODAY, *fields.split())) == SENT


@pytest.mark.parametrize(("is_astm", "mapping", "fields"), ISSUED)
def test_an_old_report_that_is_sent_again_keeps_its_time(
    tmp_path: Path, is_astm: bool, mapping: str, fields: str
) -> None:
    with clocks(tmp_path, mapping, astm=is_astm) as desk:
        assert says(desk, (astm if is_astm else oru)(1, LAST_YEAR, *fields.split())) == SENT
        days = {time.replace("-", "")[:8] for time in times_in(desk.documents()[0])}
        has_none = mapping in ("own", "hl7-to-csv", "astm-to-json")
        assert days == {TODAY} if has_none else days >= {LAST_YEAR}
