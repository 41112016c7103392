"""A row of a code table whose term and unit cannot both be true is refused."""

import csv
from pathlib import Path

import pytest

from engine.config.site import shipped
from engine.mapping.code_tables.plausible import Kinds, read_kinds
from engine.mapping.code_tables.table_files import read_table
from tests.support.mapping_texts import HEAD, Workshop

FOLDER = shipped("mappings")
PACKS = shipped("analyzers")
COLUMNS = "code,unit_in,loinc,display,type,unit,ucum,factor\n"


@pytest.fixture(scope="module")
def kinds() -> Kinds:
    assert FOLDER is not None
    texts = [(FOLDER / "tables" / name).read_text(encoding="utf-8") for name in ("loinc.csv", "ucum.csv")]
    return read_kinds(*texts)


def found(kinds: Kinds, row: str) -> list[str]:
    _, findings = read_table(COLUMNS + row, "t", "t.csv", ("code", "unit_in"), kinds.doubt)
    return [finding.at("t.csv") for finding in findings if finding.severity == "error"]


@pytest.mark.parametrize(
    ("row", "says"),
    [
        (  # an absolute count reported in percent: 60 would become 60 cells
            "NEUT,%,751-8,,NM,,%,",
            "t.csv:2:8: LOINC 751-8 is a term for count/volume, and % is one of fraction; take the term for this unit, "
            "or correct the unit",
        ),
        ("NEUT,%,751-8,,NM,,,", "t.csv:2:8: LOINC 751-8 is a term for count/volume, and % is one of fraction"),
        ("NEUT,10*3/uL,770-8,,NM,,10*3/uL,", "t.csv:2:14: LOINC 770-8 is a term for fraction, and 10*3/uL is one of"),
        ("GLU,mmol/L,2345-7,,NM,mmol/L,mmol/L,", "t.csv:2:12: LOINC 2345-7 is a term for mass/volume, and mmol/L"),
        # Not in the table of terms: told by its name.
        (
            "EOS,%,26449-9,Eosinophils [#/volume] in Blood,NM,%,%,",
            "t.csv:2:7: LOINC 26449-9 is a term for count/volume",
        ),
        ("EOS,/nL,26450-7,Eosinophils/100 leukocytes in Blood,NM,,/nL,", "t.csv:2:9: LOINC 26450-7 is a term for"),
        (
            "X,U/L,1-8,Something [Moles/volume] in Serum,NM,,U/L,",
            "t.csv:2:7: LOINC 1-8 is a term for molar or equivalent",
        ),
        # No factor is right for every sample.
        ("NEUT,%,751-8,,NM,10*9/L,10*9/L,0.1", "t.csv:2:6: no factor makes % (fraction) 10*9/L (count/volume)"),
    ],
)
def test_what_cannot_be_true_is_refused(kinds: Kinds, row: str, says: str) -> None:
    lines = found(kinds, row)
    assert len(lines) == 1
    assert lines[0].startswith(says)


@pytest.mark.parametrize(
    "row",
    [
        "NEUT,10*3/uL,751-8,,NM,,10*3/uL,",
        "NEUT,/nL,751-8,,NM,,/nL,",  # in no table of units: told by its atoms
        "GLU,mmol/L,14749-6,,NM,mmol/L,mmol/L,",
        "GLU,mmol/L,2345-7,,NM,mg/dL,mg/dL,18.016",  # one analyte has one molar mass
        "HCT,,4544-3,,NM,%,%,100",
        "COL,,5778-6,,ST,,,",
        "NEUT,%,751-8,,ST,,,",  # words: the unit is beside the point
        "X,{COI},5195-3,,NM,,{COI},",
        "X,strange,751-8,,NM,,,",
        "X,%,98765-1,A term that nobody knows,NM,,%,",
    ],
)
def test_what_can_be_true_or_cannot_be_told_passes(kinds: Kinds, row: str) -> None:
    assert found(kinds, row) == []


def test_no_row_of_a_shipped_table_is_doubted(kinds: Kinds) -> None:
    assert FOLDER is not None
    assert PACKS is not None
    told = 0
    for path in [*PACKS.glob("*/codes.csv"), FOLDER / "tables/analytes.csv"]:
        lines = [line for line in path.read_text(encoding="utf-8").splitlines() if not line.startswith("#")]
        for cells in csv.DictReader(lines):
            row = {name: value for name, value in cells.items() if value}
            assert kinds.doubt(row) is None, (path, row)
            told += kinds.made(row) is not None and row.get("loinc") in kinds.terms
    assert told > 1000


def test_a_mapping_with_such_a_row_does_not_load(tmp_path: Path) -> None:
    assert FOLDER is not None
    workshop = Workshop(tmp_path)
    for name in ("loinc.csv", "ucum.csv"):
        workshop.write(f"tables/{name}", (FOLDER / "tables" / name).read_text(encoding="utf-8"))
    workshop.write("tables/t.csv", COLUMNS + "NEUT,%,751-8,,NM,,%,\n")
    text = f"{HEAD}tables: {{t: {{csv: tables/t.csv, key: [code, unit_in]}}}}\nsteps:\n- drop: x\n"
    (line,) = workshop.problems(text)
    assert line.startswith("tables/t.csv:2:8: LOINC 751-8 is a term for count/volume")
