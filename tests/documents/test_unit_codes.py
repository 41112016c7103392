"""The code of UCUM that each output and each judge has of a unit: `unit_codes.tsv`, and each unit of the shipped table
beside a LOINC term of each kind of quantity.

A wrong code is worse than none: `K/uL` would be kelvin, `1.73.m2` is times 73 m2.
"""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import orjson
import pytest

from engine.features.quality_control.rules.lots import ucum_of
from engine.mapping import load
from engine.mapping.code_tables.table_files import read_table
from engine.mapping.code_tables.units import is_of_laboratories, ucum_problem
from engine.mapping.measured import results_in
from engine.model.content.facts import unpacked
from engine.model.message import MapContext, Parsed
from tests.documents.test_facts_and_documents import differences
from tests.documents.test_outputs_agree import ABDM
from tests.support.mapping_texts import context, parse
from tests.support.shipped import MAPPINGS, program, reader_of

LINES = (Path(__file__).parent / "unit_codes.tsv").read_text("utf-8").splitlines()
CASES: list[tuple[str, str, str]] = [(*line.split("\t"),) for line in LINES if line[0] != "#"]  # type: ignore[misc]
TABLES = {
    name: read_table((MAPPINGS / f"tables/{name}.csv").read_text("utf-8"), name, f"{name}.csv", key)[0]
    for name, key in (("ucum", ["unit_in"]), ("loinc", ["code"]), ("analytes", ["code", "unit_in"]))
}
HEADER = "MSH|^~\\&|L|F|||20260301101500||ORU^R01|m1|P|2.5.1\rPID|1||4711^^^H^MR||Rao^Asha||19800101|F\r"
ORDER = "OBR|1||S1|PAN^Panel^L|||20260301091500||||||||||||||||||F\r"
HEAD = "H|\\^&|||X^1|||||LIS||P|1|20260301101500\rP|1||4711\rO|1|S1||^^^X\r"
ESCAPES = str.maketrans({sign: f"\\{letter}\\" for sign, letter in zip("\\&^~|", "ETSRF", strict=True)})
SPELLED = str.maketrans({"^": "*", "l": "L"})


def hl7_of(units: Sequence[tuple[str, str]]) -> Parsed:
    results = (
        f"OBX|{at}|NM|{f'{term}^X^LN' if term else f'T{at}^X^L'}|{at}|7.5|{unit}|||||F\r"
        for at, (unit, term) in enumerate(units, 1)
    )
    return parse(HEADER + ORDER + "".join(results))


def codes_of(parsed: Parsed, site: MapContext, mapping: str) -> list[str]:
    """The code of UCUM of each result in FHIR, in order."""
    (document,) = program(mapping).apply(parsed, site).documents
    resources = [entry["resource"] for entry in orjson.loads(document.body)["entry"]]
    quantities = [each["valueQuantity"] for each in resources if each["resourceType"] == "Observation"]
    assert {quantity["value"] for quantity in quantities} == {7.5}
    assert all(quantity["unit"] for quantity in quantities)
    return [quantity.get("code", "") for quantity in quantities]


def check(cases: Sequence[tuple[str, str, str]], parsed: Parsed, mapping: str) -> None:
    """In FHIR, in what judges compare, and in each other output."""
    site = context(settings=ABDM)
    assert list(zip(cases, codes_of(parsed, site, mapping), strict=True)) == [(case, case[2]) for case in cases]
    facts = unpacked(program(reader_of(parsed.format)).apply(parsed, site).documents[0].body)
    assert [
        (case[0], case[2] in result.units) for case, result in zip(cases, results_in(facts, parsed, site), strict=True)
    ] == [(case[0], case[2] != "") for case in cases]
    assert differences(parsed, site) == []
    gaps = {gap.code for gap in program(mapping).apply(parsed, site).unmapped if gap.table == "ucum"}
    assert {
        unit.split("^^")[0] for unit, _, code in cases if not code and "^e" not in unit and "^mi" not in unit
    } <= gaps


def test_each_unit_has_the_code_that_can_be_meant_and_no_other() -> None:
    check(CASES, hl7_of([(unit, term) for unit, term, _ in CASES]), "hl7-results")


def test_over_astm_a_spelling_has_the_same_code() -> None:
    cases = [case for case in CASES if not case[1] and not re.search(r"\\|\^\D", case[0])]
    records = (f"R|{at}|^^^T{at}|7.5|{unit}||||F\r" for at, (unit, *_) in enumerate(cases, 1))
    check(cases, parse(HEAD + "".join(records) + "L|1|N\r"), "astm-results")


@pytest.mark.parametrize("kind", sorted({row.dimension for row in TABLES["loinc"].rows if row.dimension}))
def test_beside_a_term_of_each_kind_a_unit_of_the_table_is_the_tables(kind: str) -> None:
    term = next(row.cells["code"] for row in TABLES["loinc"].rows if row.dimension == kind)
    rows = [
        (row.cells["unit_in"], TABLES["analytes"].find((term, row.cells["unit_in"])) or row)
        for row in TABLES["ucum"].rows
    ]
    sent = [(unit.translate(ESCAPES) + label, term) for unit, _ in rows for label in ("", "^^UCUM")]
    made = codes_of(hl7_of(sent), context(), "hl7-results")
    expected = [(unit, str(row.ucum).translate(SPELLED)) for unit, row in rows]
    assert [(unit, code.translate(SPELLED)) for (unit, _), code in zip(rows, made[::2], strict=True)] == expected
    assert [(unit, code.translate(SPELLED)) for (unit, _), code in zip(rows, made[1::2], strict=True)] == expected
    assert not any(map(ucum_problem, made))


def test_a_control_and_its_target_are_compared_by_the_same_code() -> None:
    assert all(ucum_of(row.cells["unit_in"]) == row.ucum for row in TABLES["ucum"].rows)


@pytest.mark.parametrize("system", ["", "^^UCUM"])
def test_a_row_of_the_site_goes_first(tmp_path: Path, system: str) -> None:
    (tmp_path / "tables").mkdir()
    (tmp_path / "tables/mine.csv").write_text("unit_in,ucum\nmg/dL,mg/L\nkU/L,k[IU]/L\numoL/L,umol/L\n")
    (tmp_path / "tables/codes.csv").write_text("code,unit_in,loinc,display,type,ucum\nT4,mmol/L,,,,mg/dL\n")
    files: dict[str, Any] = {"ucum": ["mine", "ucum"], "analytes": ["codes"]}
    made = load("hl7-results", (tmp_path, MAPPINGS), tables=files)
    units = [("mg/dL", ""), ("kU/L", "19113-0"), ("mg/L", ""), ("mmol/L", ""), ("umoL/L", "")]
    body = made.apply(hl7_of([(unit + system, term) for unit, term in units]), context()).documents[0].body
    quantities = [entry["resource"].get("valueQuantity", {}) for entry in orjson.loads(body)["entry"]]
    assert [quantity["code"] for quantity in quantities if quantity] == ["mg/L", "k[IU]/L", "mg/L", "mg/dL", "umol/L"]


@pytest.mark.parametrize("unit", "mL/min/1.73.m2 mg/dL.5 10*3.1/uL 1.73 K/uL G/L Mg/dL pH m/uL u/L".split())  # noqa: SIM905
def test_a_code_that_can_hardly_be_meant_is_told_of_a_table(unit: str) -> None:
    table, findings = read_table(f"unit_in,ucum\nx,{unit}\n", "ucum", "ucum.csv", ["unit_in"])
    assert [(finding.severity, unit in finding.text) for finding in findings] == [("warning", True)]
    assert table.rows[0].ucum == unit


@pytest.mark.parametrize("unit", "/100{WBCs} 10*3 mg/(24.h) 24.h 10.L/(min.m2) mL/min/{1.73_m2} 10*6.[IU] [pH]".split())  # noqa: SIM905
def test_a_code_of_laboratories_is_not_told(unit: str) -> None:
    assert read_table(f"unit_in,ucum\nx,{unit}\n", "ucum", "ucum.csv", ["unit_in"])[1] == []


def test_each_code_of_the_shipped_tables_can_be_meant() -> None:
    assert [
        row.name for table in TABLES.values() for row in table.rows if row.ucum and not is_of_laboratories(row.ucum)
    ] == []
