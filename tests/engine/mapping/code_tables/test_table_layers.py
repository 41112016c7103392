"""A table of several files, the site's rows above those that ship; and key columns that a file may lack."""

from pathlib import Path

import pytest

from engine.mapping.code_tables.table_files import read_tables
from engine.mapping.code_tables.tables import Table
from engine.model.errors import ContentError
from engine.model.message import Unmapped
from engine.model.texts.reasons import ReasonCode
from tests.support.mapping_texts import ASTM, HEAD, HL7, Workshop, apply, context, parse

COLUMNS = "code,unit_in,loinc,type,unit,factor,note\n"
KEY = ("code", "unit_in")
SHIPPED = (
    "tables/shipped.csv",
    COLUMNS
    + "HGB,g/dL,718-7,NM,g/L,10\n"
    + "HGB,g/L,718-7,NM,g/L,\n"
    + "GLU,mg/dL,2345-7,NM,,\n"
    + "MODE,,,none,,\n"
    + "*,mg/L,1988-5,NM,,\n",
)


def table(*rows: str, key: tuple[str, ...] = KEY) -> Table:
    """The shipped table below one with these rows."""
    made, findings = read_tables([("tables/mine.csv", COLUMNS + "\n".join(rows) + "\n"), SHIPPED], "t", key)
    assert [finding.at(file) for file, finding in findings] == []
    return made


def code(made: Table, *key: str) -> str | None:
    row = made.find(key)
    return row.code if row is not None else None


def test_a_row_of_the_site_takes_the_place_of_the_one_with_its_key_and_the_others_stay() -> None:
    made = table("HGB,g/dL,20509-6,NM,g/dL,1")
    assert code(made, "HGB", "g/dL") == "20509-6"
    assert code(made, "HGB", "g/L") == "718-7"
    assert code(made, "GLU", "mg/dL") == "2345-7"
    assert made.notes == (
        "tables/mine.csv:2:1: HGB,g/dL takes the place of tables/shipped.csv:2; 20509-6 in g/dL factor 1 instead of "
        "718-7 in g/L factor 10",
    )
    row = made.find(("HGB", "g/dL"))
    assert row is not None
    assert (row.file, row.line) == ("tables/mine.csv", 2)


def test_what_the_site_says_with_a_wildcard_stands_above_exact_rows_below() -> None:
    made = table("HGB,*,20509-6,NM,,")
    assert code(made, "HGB", "g/dL") == code(made, "HGB", "anything") == "20509-6"
    assert [note.split(" takes ")[0] for note in made.notes] == ["tables/mine.csv:2:1: HGB,*"] * 2
    assert code(table("*,mg/L,30341-2,NM,,"), "CRP", "mg/L") == "30341-2"
    # Of two wildcard rows that overlap in part, the site's is asked first.
    assert code(table("CRP,*,30522-7,NM,,"), "CRP", "mg/L") == "30522-7"


def test_the_site_leaves_out_what_is_a_result_elsewhere_and_takes_in_what_is_none() -> None:
    made = table("HGB,*,,none,,", "MODE,x,718-7,NM,,")
    assert made.left_out == {"HGB"}
    assert code(made, "MODE", "x") == "718-7"
    assert code(made, "MODE", "y") is None


def test_a_row_for_people_gives_a_code_back_to_the_gaps() -> None:
    made = table("GLU,mg/dL,,,,,we do not believe this one")
    assert code(made, "GLU", "mg/dL") is None
    assert made.knows(("GLU", "mg/dL")) is None
    assert made.knows(("HGB", "mg/dL")) is not None


def test_findings_name_their_file_and_the_same_key_twice_is_one_in_a_file_only() -> None:
    files = [("a.csv", COLUMNS + "HGB,g/dL,718-7\nHGB,g/dL,718-7\n"), ("b.csv", COLUMNS + "GLU,mg/dL,2345-8\n")]
    _, findings = read_tables(files, "t", KEY)
    assert [finding.at(file).partition(";")[0] for file, finding in findings] == [
        "a.csv:3:1: the same key as line 2",
        "b.csv:2:11: the check digit of LOINC 2345-8 does not hold",
    ]


def test_files_may_have_other_columns_in_another_order() -> None:
    mine = ("mine.csv", "unit_in,code,loinc,device\ng/dL,HGB,20509-6,X1\n")
    made, _ = read_tables([mine, SHIPPED], "t", KEY, optional=("device", "specimen"))
    assert made.key == ("code", "unit_in", "device")
    assert made.asked == ("code", "unit_in", "device", "specimen")
    assert code(made, "HGB", "g/dL", "X1") == "20509-6"
    assert code(made, "HGB", "g/dL", "X2") == "718-7", "a file without the column speaks of every device"
    assert made.notes == ()


def test_a_blank_cell_of_an_optional_key_is_every_device_and_a_blank_unit_is_no_unit() -> None:
    text = "code,unit_in,device,loinc\nCOL,,,5778-6\nCOL,,X1,5767-9\n"
    made, _ = read_tables([("t.csv", text)], "t", KEY, optional=("device",))
    assert code(made, "COL", "", "X1") == "5767-9"
    assert code(made, "COL", "", "") == "5778-6"
    assert code(made, "COL", "mg/dL", "X1") is None


STEPS = """
- each: PATIENT_RESULT
  do:
    - each: ORDER_OBSERVATION
      do:
        - each: OBSERVATION
          create: Observation
          key: =OBX-1
          body:
            status: final
            code: =coded(lookup('analytes', OBX-3.1, unit_text(OBX-6), OBX-18.1 | MSH-3, OBR-15.1), cwe(OBX-3))
"""
USE = "tables:\n  analytes: {csv: tables/t.csv, key: [code, unit_in], optional_key: [device, specimen]}\n"


@pytest.fixture
def workshop(tmp_path: Path) -> Workshop:
    made = Workshop(tmp_path)
    made.write("tables/t.csv", "code,unit_in,loinc\nHGB,g/dL,718-7\nCOL,,5778-6\n")
    return made


def first(workshop: Workshop, message: str = HL7) -> str:
    made = apply(workshop.steps(STEPS, tables=USE), message)
    return str(made.all("Observation")[0]["code"]["coding"][0]["code"])


def test_a_look_up_asks_by_the_columns_that_the_file_has(workshop: Workshop) -> None:
    assert first(workshop) == "718-7"
    assert "OBR-15" not in "".join(workshop.load((workshop.folder / "m.yaml").read_text()).problems)
    workshop.write("tables/t.csv", "code,unit_in,device,loinc\nHGB,g/dL,XN,20509-6\nHGB,g/dL,,718-7\nCOL,,,5778-6\n")
    assert first(workshop) == "20509-6"
    assert first(workshop, HL7.replace("|XN|LAB", "|XP|LAB")) == "718-7"
    workshop.write("tables/t.csv", "code,unit_in,specimen,loinc\nHGB,g/dL,UR,5794-3\nHGB,g/dL,*,718-7\nCOL,,*,5778-6\n")
    assert first(workshop) == "718-7"
    obr = "OBR|1|O1|F1|CBC^Blood count^L|||20260301091500||||||||UR||||||20260301101500||HM|F"
    lines = [obr if line.startswith("OBR") else line for line in HL7.splitlines()]
    assert first(workshop, "\n".join(lines)) == "5794-3"


def test_a_code_of_another_device_is_unknown_and_not_one_with_another_unit(workshop: Workshop) -> None:
    workshop.write("tables/t.csv", "code,unit_in,device,loinc\nHGB,g/L,XN,718-7\nHGB,mmol/L,XP,59260-0\nCOL,,,5778-6\n")
    program = workshop.steps(STEPS, tables=USE)
    with pytest.raises(ContentError) as caught:
        program.apply(parse(HL7), context())
    assert caught.value.reason is ReasonCode.UNMAPPED_UNIT
    made = apply(program, HL7.replace("|XN|LAB", "|Other|LAB"))
    assert made.mapped.unmapped == (Unmapped("analytes", "HGB", "g/dL", "Hemoglobin"),)


def test_several_files_are_named_in_the_mapping_or_by_the_channel(workshop: Workshop) -> None:
    workshop.write("tables/mine.csv", "code,unit_in,loinc\nHGB,g/dL,20509-6\n")
    program = workshop.steps(STEPS, tables=USE.replace("tables/t.csv", "[tables/mine.csv, tables/t.csv]"))
    assert apply(program).all("Observation")[0]["code"]["coding"][0]["code"] == "20509-6"
    assert apply(program).all("Observation")[1]["code"]["coding"][0]["code"] == "5778-6"
    workshop.steps(STEPS, tables=USE)
    by_channel = workshop.load((workshop.folder / "m.yaml").read_text(), tables={"analytes": ("mine", "t")})
    assert apply(by_channel).mapped.documents[0].body.count(b"20509-6") == 1
    assert set(by_channel.files) == {"m.yaml", "tables/mine.csv", "tables/t.csv"}
    assert len(by_channel.tables["analytes"].notes) == 1


@pytest.mark.parametrize(
    ("use", "says"),
    [
        ("{csv: [], key: [code]}", "m.yaml:6:19: table analytes needs csv:, the file to read, or a list of files"),
        ("{csv: [{a: b}], key: [code]}", "m.yaml:6:19: table analytes needs csv:"),
        ("{csv: [tables/t.csv, no.csv], key: [code]}", "m.yaml:6:34: there is no file no.csv"),
        ("{csv: tables/t.csv, key: [code], optional_key: [code]}", "m.yaml:6:60: 'code' is in key:, too"),
    ],
)
def test_what_is_wrong_with_a_declaration(workshop: Workshop, use: str, says: str) -> None:
    lines = workshop.problems(f"{HEAD}tables:\n  analytes: {use}\nsteps:\n- drop: x\n")
    assert any(line.startswith(says) for line in lines), lines


def test_astm_messages_ask_alike(workshop: Workshop) -> None:
    workshop.write("tables/t.csv", "code,unit_in,device,loinc\nWBC,10*3/uL,XN-550,6690-2\nRBC,10*6/uL,,789-8\n")
    steps = """
    - each: PATIENT
      do:
        - each: ORDER
          do:
            - each: RESULT
              create: Observation
              key: =[O-3, R-3.5]
              body:
                status: final
                code: =coded(lookup('analytes', R-3.5, R-5, H-5.1, O-16.1), local_concept(R-3.5))
    """
    made = apply(workshop.steps(steps, tables=USE, message_format="astm/E1394"), ASTM)
    assert [one["code"]["coding"][0]["code"] for one in made.all("Observation")] == ["6690-2", "789-8"]
