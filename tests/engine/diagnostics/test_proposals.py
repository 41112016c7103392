"""Proposals of LOINC terms for a code: what speaks for each, and what is never proposed."""

import pytest

from engine.config import registry
from engine.diagnostics.lines.contents import shared_codes
from engine.diagnostics.packs import codes_of, packs
from engine.diagnostics.proposals import Known, fits, known_of, proposals, searched, sure_one
from engine.model.message import FormatOptions, Parsed


@pytest.fixture(scope="module")
def known() -> Known:
    return known_of(None)


def found(known: Known, code: str, unit: str, name: str = "", analyzer: str | None = None) -> list[tuple[str, str]]:
    return [(one.loinc, one.by) for one in proposals(known, code, unit, name, analyzer)]


def test_the_pack_of_the_analyzer_comes_first_and_is_sure(known: Known) -> None:
    listed = proposals(known, "HGB", "g/dL", "", "sysmex-xn")
    assert (listed[0].loinc, listed[0].by) == ("718-7", "pack")
    one = sure_one(listed, "g/dL")
    assert one is not None
    assert one.loinc == "718-7"
    assert sure_one(proposals(known, "HGB", "", "", "sysmex-xn"), "") is None  # no unit speaks for it


def test_without_a_pack_nothing_is_sure_that_one_source_alone_says(known: Known) -> None:
    for pack in packs():
        for row in codes_of(pack):
            unit = row.cells.get("unit_in", "")
            listed = proposals(known, row.cells["code"], unit, "", None)
            if (sure := sure_one(listed, unit)) is not None:
                assert len(sure.names) >= 2
                assert not [one for one in listed if one.by == sure.by and one.loinc != sure.loinc]


def test_a_number_means_something_at_its_own_maker_only(known: Known) -> None:
    rows = [(pack.name, row) for pack in packs() for row in codes_of(pack) if row.code and row.cells["code"].isdigit()]
    assert rows
    for name, row in rows:
        code, unit = row.cells["code"], row.cells.get("unit_in", "")
        assert {by for _, by in found(known, code, unit)} <= {"terms"}
        assert not [by for _, by in found(known, code, unit, analyzer=name) if by == "packs"]


def test_a_unit_of_another_kind_is_never_proposed(known: Known) -> None:
    assert ("2345-7", "terms") in found(known, "GLU-X", "mg/dL", "Glucose")
    assert "2345-7" not in dict(found(known, "GLU-X", "mmol/L", "Glucose"))
    assert not fits(known, {"loinc": "718-7"}, "HGB", "%")


def test_terms_are_searched_by_all_words(known: Known) -> None:
    names = [one.cells["display"] for one in searched(known, "glucose urine")]
    assert names
    assert all("Glucose" in name and "Urine" in name for name in names)
    assert searched(known, "") == []


SHARED = (
    "H|\\^&|||x\rP|1\rO|1|S1\rR|1|GLU^^^1^A|5.6|mmol/L\rR|2|NA^^^1^A|142|mmol/L\r"
    "O|2|S2\rR|1|GLU^^^1^A|6.0|mmol/L\rL|1|N\r"
)


def parsed(text: str) -> Parsed:
    found: Parsed = registry.load(registry.FORMATS, "astm").parse(text.encode(), FormatOptions(charsets=("utf-8",)))
    return found


def test_results_of_one_order_that_share_a_code_are_told_with_the_part_that_differs() -> None:
    (one,) = shared_codes([parsed(SHARED)], {})
    assert (one.code, one.times, one.part, list(one.names)) == ("1", 2, 1, ["GLU", "NA"])
    assert shared_codes([parsed(SHARED)], {"test_code": "1"}) == []


def test_a_part_that_counts_is_not_taken_for_a_name() -> None:
    (one,) = shared_codes([parsed(SHARED.replace("GLU^^^1^A", "1^^GLU^1^A").replace("NA^^^1^A", "2^^NA^1^A"))], {})
    assert (one.part, list(one.names)) == (3, ["GLU", "NA"])


def test_repeats_of_one_test_have_no_part_that_differs() -> None:
    text = SHARED.replace("NA^^^1^A", "GLU^^^1^A")
    (one,) = shared_codes([parsed(text)], {})
    assert (one.times, one.part, list(one.names)) == (2, 0, [])


def test_two_results_in_two_orders_share_nothing() -> None:
    text = SHARED.replace("R|2|NA^^^1^A|142|mmol/L\r", "")
    assert shared_codes([parsed(text)], {}) == []
