"""A LOINC code that a sender states stays one only where it can be what was measured (`believed`, `coded`)."""

from pathlib import Path
from typing import Any

import pytest

from engine.mapping.code_tables.table_files import read_table
from engine.mapping.code_tables.tables import LOINC, Row
from engine.mapping.functions.coding import WARNING, believed, coded
from engine.mapping.message.message_context import MessageContext
from engine.model.message import Delimiters, Group, MapContext, Parsed

TABLES = Path(__file__).parents[3] / "mappings" / "tables"
TERMS, _ = read_table((TABLES / "loinc.csv").read_text("utf-8"), "loinc", "loinc.csv", ["code"])
UNITS, _ = read_table((TABLES / "ucum.csv").read_text("utf-8"), "ucum", "ucum.csv", ["unit_in"])


def run_of() -> MessageContext:
    parsed = Parsed(
        format="hl7v2",
        structure="ORU_R01",
        message_type="ORU^R01",
        delimiters=Delimiters(),
        root=Group("ORU_R01"),
        segments=[],
    )
    return MessageContext(parsed, MapContext(), lambda text, *_: text, lambda _line: "", {})


def loinc(code: str, name: str = "X", **more: str) -> dict[str, Any]:
    return {"coding": [{"system": LOINC, "code": code, "display": name, **more}], "text": name}


def verdict(sent: dict[str, Any], unit: str | None) -> tuple[bool, list[str]]:
    """Whether the code is still one of LOINC, and the codes of the warnings."""
    run = run_of()
    units = UNITS.find((unit,)) if unit is not None else None
    made = believed(run, sent, TERMS, units, unit)
    assert made is not None
    assert made["coding"][0]["code"] == sent["coding"][0]["code"]  # whatever is thought of it, it stays to be seen
    assert sent["coding"][0]["system"] == LOINC  # concepts are shared between messages: never changed
    return made["coding"][0].get("system") == LOINC, [issue.code for issue in run.issues]


@pytest.mark.parametrize(
    ("code", "name", "unit"),
    [
        ("6690-2", "WBC", "10*3/uL"),
        ("6690-2", "WBC", None),
        ("20482-6", "GRAN#", "10^3/uL"),
        ("19023-1", "GRAN%", "%"),
        ("19023-1", "GRAN%", None),
        ("2951-2", "Na", "mEq/L"),
        ("6690-2", "WBC", "a unit that no table has"),
        ("747-6", "not in the table of terms", "%"),
        ("1742-6", "ALT", "IU/L"),
        ("LP32067-8", "a part of LOINC", None),
        ("31201-7", "HIV", "COI"),
    ],
)
def test_what_fits_or_cannot_be_compared_stays(code: str, name: str, unit: str | None) -> None:
    assert verdict(loinc(code, name), unit) == (True, [])


@pytest.mark.parametrize(
    ("code", "name", "unit"),
    [
        ("20482-6", "GRAN%", "%"),
        ("20482-6", "GRAN%", None),
        ("19023-1", "GRAN#", "10*3/uL"),
        ("19023-1", "GRAN#", None),
        ("2345-7", "GLU", "mmol/L"),
        ("14647-2", "CHOL", "mg/dL"),
        ("59261-8", "HbA1c", "%"),
        ("789-9", "RBC", "10*6/uL"),
        ("2100-5", "RDW-SD", "fL"),
        ("WBC", "a mnemonic is no LOINC code", "10*3/uL"),
        ("31201-7", "HIV", "mg/dL"),
    ],
)
def test_what_cannot_be_what_was_measured_loses_its_system(code: str, name: str, unit: str | None) -> None:
    assert verdict(loinc(code, name), unit) == (False, [WARNING])


def test_only_the_doubtful_coding_of_several_loses_its_system() -> None:
    own = {"system": "urn:lab", "code": "GRAN%"}
    sent = {"coding": [own, {"system": LOINC, "version": "2.77", "code": "20482-6"}], "text": "GRAN%"}
    made = believed(run_of(), sent, TERMS, UNITS.find(("%",)), "%")
    assert made == {"coding": [own, {"code": "20482-6"}], "text": "GRAN%"}


def test_words_alone_and_codes_of_others_pass() -> None:
    for sent in ({"text": "Glucose"}, {"coding": [{"system": "urn:lab", "code": "789-9"}], "text": "RBC"}):
        run = run_of()
        assert believed(run, sent, TERMS, UNITS.find(("%",)), "%") is sent
        assert run.issues == []


def row(code: str) -> Row:
    return Row({"code": "x", "loinc": code, "display": "Name"}, "x")


def test_where_the_table_names_another_term_it_is_the_only_one_of_loinc() -> None:
    made = coded(run_of(), row("19023-1"), loinc("20482-6", "GRAN%"))
    assert made == {
        "coding": [{"system": LOINC, "code": "19023-1", "display": "Name"}, {"code": "20482-6", "display": "GRAN%"}],
        "text": "GRAN%",
    }


def test_a_code_that_the_table_confirms_stands_once() -> None:
    made = coded(run_of(), row("6690-2"), loinc("6690-2", "WBC"))
    assert made == {"coding": [{"system": LOINC, "code": "6690-2", "display": "Name"}], "text": "WBC"}


def test_of_several_that_were_sent_only_the_confirmed_one_stays_loinc() -> None:
    sent = {"coding": [*loinc("6690-2")["coding"], {"system": LOINC, "code": "26464-8"}], "text": "WBC"}
    made = coded(run_of(), row("6690-2"), sent)
    assert made is not None
    assert [one.get("system") for one in made["coding"]] == [LOINC, None]


def test_every_unit_of_a_term_fits_it() -> None:
    """The two tables agree with each other: the unit that LOINC shows as an example never contradicts its term."""
    for term in TERMS.rows:
        unit = UNITS.find((term.ucum,)) if term.ucum else None
        measured = unit.cells.get("dimension") if unit is not None else None
        wanted = term.cells.get("dimension")
        if measured is not None and wanted is not None:
            assert measured in wanted.split(), term.name
