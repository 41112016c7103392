"""Code tables: exact rows, wildcards, conversions, and the policies about what is not in them."""

from pathlib import Path

import pytest

from engine.mapping.code_tables.gaps import MissingCode, csv_lines
from engine.mapping.code_tables.table_files import read_table
from engine.mapping.code_tables.tables import Table
from engine.mapping.code_tables.units import LOINC_SHAPE, loinc_check_digit_holds, ucum_problem
from engine.mapping.message import runtime
from engine.model.errors import ContentError
from engine.model.message import MapContext, Parsed, Unmapped
from engine.model.texts.reasons import ReasonCode
from engine.store.core import unmapped_codes
from tests.support.mapping_texts import HL7, Workshop, apply, context, parse

HEAD = "code,unit_in,device,loinc,display,type,unit,ucum,factor,offset,digits\n"
KEY = ("code", "unit_in", "device")

STEPS = """
- each: PATIENT_RESULT
  do:
    - each: ORDER_OBSERVATION
      do:
        - each: OBSERVATION
          create: Observation
          key: =OBX-1
          let:
            row: =lookup('analytes', OBX-3.1, unit_text(OBX-6))
            number: =decimal(OBX-5)
          body:
            status: final
            code: =coded(row, cwe(OBX-3))
            valueQuantity: =quantity(number, row, OBX-6)
            referenceRange: =reference_range(OBX-7, row, OBX-6)
"""


def table(rows: str, key: tuple[str, ...] = KEY) -> Table:
    made, findings = read_table(HEAD + rows, "t", "t.csv", key)
    assert [finding.text for finding in findings if finding.severity == "error"] == []
    return made


def problems(text: str, key: tuple[str, ...] = KEY) -> list[str]:
    return [finding.at("t.csv") for finding in read_table(text, "t", "t.csv", key)[1]]


def test_the_row_with_the_fewest_wildcards_wins() -> None:
    made = table("GLU,mg/dL,c1,2345-7\nGLU,mg/dL,*,2339-0\nGLU,*,*,2340-8\n*,*,*,5792-7\n")
    found = [
        made.find(key) for key in (("GLU", "mg/dL", "c1"), ("GLU", "mg/dL", "x"), ("GLU", "g/L", "x"), ("A", "b", "c"))
    ]
    assert [row and row.code for row in found] == ["2345-7", "2339-0", "2340-8", "5792-7"]


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("", "t.csv:1:1: the table is empty"),
        ("code,loinc\n", "t.csv:1:1: key column 'unit_in' is missing"),
        ("code,code,unit_in,device\n", "t.csv:1:1: column 'code' is here twice"),
        (HEAD + "GLU,mg/dL,x\nGLU,mg/dL,x\n", "t.csv:3:1: the same key as line 2"),
        (HEAD + "GLU,*,x,2345-7\nGLU,mg/dL,*,2345-7\n", "t.csv:3:1: this row and line 2 can match the same key"),
        (HEAD + "GLU,*,x,,,,mg/L\n", "t.csv:2:5: * matches every unit and is not allowed beside a unit"),
        (HEAD + "GLU,*,x,,,,,,10\n", "t.csv:2:5: * matches every unit and is not allowed beside a factor"),
        (HEAD + "GLU,g/L,x,,,,,,ten\n", "t.csv:2:16: factor 'ten' is no decimal"),
        (HEAD + "GLU,g/L,x,,,,,,-1\n", "t.csv:2:16: a factor must be greater than 0"),
        (HEAD + "GLU,g/L,x,,,,,,,,1.5\n", "t.csv:2:18: digits '1.5' is no whole number"),
        (HEAD + "GLU,g/L,x,,,Quantity\n", "t.csv:2:13: 'Quantity' is no type of value (HL7 table 0125); write NM"),
        (HEAD + "GLU,g/L,x,,,nm\n", "t.csv:2:13: 'nm' is no type of value"),
        (HEAD + "GLU,g/L,x,HGB\n", "t.csv:2:11: 'HGB' has not the form of a LOINC code"),
        (HEAD + "GLU,g/L,x,718-8\n", "t.csv:2:11: the check digit of LOINC 718-8 does not hold"),
        (HEAD + "GLU,g/L,x,,,,,gm/dl\n", "t.csv:2:15: 'gm/dl' is no UCUM unit"),
        (HEAD + ",g/L,x\n", "t.csv:2:1: the cell under 'code' is empty"),
        (HEAD + "a,b,c,,,,,,,,,too many\n", "t.csv:2:15: 12 cells under 11 columns"),
        (HEAD + '"G,L""U", g/L,"x", 718-8\n', "t.csv:2:20: the check digit of LOINC 718-8 does not hold"),
        (HEAD + "GLU,g/L,x,,,,,,10\n", "t.csv:2:16: a factor makes another unit of it, and the row does not say which"),
        (
            HEAD + "GLU,g/L,x,,,,,,,32\n",
            "t.csv:2:17: a factor makes another unit of it, and the row does not say which",
        ),
        (HEAD + "PLT,*,*,,,none\nPLT,10*9/L,*,777-3\n", "t.csv:3:1: line 2 leaves PLT out (type none)"),
        (HEAD + '"a,b,c\n', "t.csv:2:1: quotes do not match"),
    ],
)
def test_a_fault_has_its_line_and_column(text: str, line: str) -> None:
    assert [found for found in problems(text) if found.startswith(line)]


def test_two_rows_that_differ_in_a_column_that_is_no_key_are_told_so() -> None:
    text = HEAD + "GLU,mg/dL,a,2345-7\nGLU,mg/dL,b,2339-0\n"
    (line,) = problems(text, ("code", "unit_in"))
    assert line.endswith("(the mapping looks up by code, unit_in, and not by device)")


def test_comments_and_blank_lines_are_skipped_and_quotes_work() -> None:
    made = table('# a comment\n\n"A,1",mg/dL,*,2345-7,"Glucose, blood"\n')
    row = made.find(("A,1", "mg/dL", "any"))
    assert row is not None
    assert row.cells["display"] == "Glucose, blood"
    assert row.line == 4


@pytest.fixture
def workshop(tmp_path: Path) -> Workshop:
    made = Workshop(tmp_path)
    made.write(
        "tables/t.csv",
        HEAD
        + "HGB,g/dL,*,718-7,Hemoglobin,NM,g/L,g/L,10,,0\n"
        + "HGB,g/L,*,718-7,Hemoglobin,NM,g/L,g/L,,,\n"
        + "COL,,*,5778-6,Color,ST,,,,,\n",
    )
    return made


def use(policies: str = "") -> str:
    return f"tables:\n  analytes: {{csv: tables/t.csv, key: [code, unit_in]{policies}}}\n"


def test_factor_and_digits_apply_to_the_value_and_to_its_range(workshop: Workshop) -> None:
    made = apply(workshop.steps(STEPS, tables=use()))
    first, second = made.all("Observation")
    assert first["valueQuantity"] == {
        "value": "148",
        "unit": "g/L",
        "system": "http://unitsofmeasure.org",
        "code": "g/L",
    }
    (reference,) = first["referenceRange"]
    assert (reference["low"]["value"], reference["high"]["value"]) == ("135", "175")
    assert "text" not in reference  # the words name numbers in another unit
    assert [coding["code"] for coding in first["code"]["coding"]] == ["718-7", "HGB"]
    assert [coding["code"] for coding in second["code"]["coding"]] == ["5778-6", "COL"]


def test_another_units_factor_is_never_applied(workshop: Workshop) -> None:
    program = workshop.steps(STEPS, tables=use())
    message = HL7.replace("|g/dL|", "|mmol/L|")
    with pytest.raises(ContentError) as caught:
        program.apply(*parse_and_context(message))
    assert (caught.value.reason, caught.value.place) == (ReasonCode.UNMAPPED_UNIT, "OBX[1]")
    made = apply(program, message, {"on_missing_unit": "local"})
    assert made.all("Observation")[0]["valueQuantity"] == {"value": "14.8", "unit": "mmol/L"}
    assert made.mapped.unmapped == (Unmapped("analytes", "HGB", "mmol/L", "Hemoglobin"),)


def test_a_number_without_its_unit_does_not_pass_and_a_word_does(workshop: Workshop) -> None:
    program = workshop.steps(STEPS, tables=use())
    with pytest.raises(ContentError) as caught:
        program.apply(*parse_and_context(HL7.replace("|g/dL|", "||")))
    assert caught.value.reason is ReasonCode.UNMAPPED_UNIT
    made = apply(program, HL7.replace("|g/dL|", "||").replace("|14.8|", "|-----|"))
    assert [coding["code"] for coding in made.all("Observation")[0]["code"]["coding"]] == ["718-7", "HGB"]


def test_of_very_many_codes_without_a_row_those_have_names_that_the_journal_can_keep(
    workshop: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A message of 22,000 long names takes no more memory for them than the journal has use for."""
    assert runtime.MOST_NAMED == unmapped_codes.ROWS_REMEMBERED + unmapped_codes.LOOKED_UP
    monkeypatch.setattr(runtime, "MOST_NAMED", 2)
    head, obx = HL7[: HL7.index("OBX")], "OBX|1|NM|{0}^Name of {0}^L||{1}|g/dL|||||F\r"
    sent = "".join(obx.format(code, place) for place, code in enumerate(("X1", "X2", "X3", "X1", "X4"), 1))
    made = apply(workshop.steps(STEPS, tables=use()), head + sent)
    assert [(one.code, one.display) for one in made.mapped.unmapped] == [
        ("X1", "Name of X1"), ("X2", "Name of X2"), ("X3", ""), ("X1", "Name of X1"), ("X4", ""),
    ]  # fmt: skip


def test_a_code_that_is_missing_passes_is_dead_or_is_dropped(workshop: Workshop) -> None:
    message = HL7.replace("HGB^Hemoglobin^L", "XYZ^What^L")
    made = apply(workshop.steps(STEPS, tables=use()), message)
    assert made.all("Observation")[0]["valueQuantity"] == {"value": "14.8", "unit": "g/dL"}
    assert made.mapped.unmapped == (Unmapped("analytes", "XYZ", "g/dL", "What"),)

    with pytest.raises(ContentError) as caught:
        workshop.steps(STEPS, tables=use(", on_missing: dead")).apply(*parse_and_context(message))
    assert caught.value.reason is ReasonCode.UNMAPPED_CODE

    program = workshop.steps(STEPS, tables=use(", on_missing: drop"))
    made = apply(program, message)
    assert len(made.all("Observation")) == 1
    assert made.mapped.counts == {"results_in": 2, "observations": 1, "dropped": 1}
    with pytest.raises(ContentError) as caught:  # never the last one of a report
        program.apply(*parse_and_context(message.replace("COL^", "ABC^")))
    assert caught.value.reason is ReasonCode.UNMAPPED_CODE


def test_a_channel_brings_its_own_table(workshop: Workshop) -> None:
    workshop.write("tables/mine.csv", HEAD + "HGB,g/dL,*,20509-6,Mine,NM,,g/dL,,,\nCOL,,*,5778-6,Color,ST,,,,,\n")
    program = workshop.steps(STEPS, tables=use())
    head = (workshop.folder / "m.yaml").read_text()
    mine = workshop.load(head, tables={"analytes": "mine"})
    assert apply(mine).all("Observation")[0]["code"]["coding"][0]["code"] == "20509-6"
    assert mine.content_hash != program.content_hash


def test_loinc_check_digits() -> None:
    assert all(loinc_check_digit_holds(code) for code in ("718-7", "6690-2", "2345-7", "1988-5", "94500-6"))
    assert not loinc_check_digit_holds("718-6")
    assert LOINC_SHAPE.fullmatch("718-7")
    assert not LOINC_SHAPE.fullmatch("0718-7")


@pytest.mark.parametrize(
    "unit",
    [
        "g/L",
        "10*3/uL",
        "10*9/L",
        "mm[Hg]",
        "u[IU]/mL",
        "%",
        "/uL",
        "mL/min/{1.73_m2}",
        "{ratio}",
        "1",
        "kg/m2",
        "mmol/mol",
        "[pH]",
        "[arb'U]/mL",
        "mg/(24.h)",
        "ng/mL{FEU}",
        "10*-3",
        "fL",
        "Cel",
        "m[IU]/L",
        "umol/L",
    ],
)
def test_units_of_laboratories_are_ucum(unit: str) -> None:
    assert ucum_problem(unit) == ""


@pytest.mark.parametrize(
    "unit", ["gm/dL", "mmHg", "10^3/µL", "x10E3/uL", "g / L", "IU/L", "mg//L", "(g", "g)", "g/", "lakhs"]
)
def test_other_spellings_are_not(unit: str) -> None:
    assert ucum_problem(unit)


def parse_and_context(message: str) -> tuple[Parsed, MapContext]:
    return parse(message), context()


def paste(lines: list[str]) -> tuple[Table, list[str]]:
    """What `labrelay gaps` wrote, as a table."""
    made, found = read_table("\n".join(lines), "t", "t.csv", ("code", "unit_in"))
    return made, [f"{finding.severity} {finding.at('t.csv')}" for finding in found]


@pytest.mark.parametrize("code", ["=1+2", "+HGB", "-GLU", "@SUM(A1)", "=cmd|' /C calc'!A0"])
def test_a_gap_is_no_formula_for_a_spreadsheet_and_the_same_code_for_the_table(code: str) -> None:
    *_, line = lines = list(csv_lines([MissingCode("c", "analytes", code, "-", "a\x1b[31m\nb", 1)]))
    assert line.startswith("'" + code)
    assert line.split(",")[1] == "'-"
    assert ",a [31m b," in line
    made, _ = paste([*lines[:-1], line.replace(",,", ",718-7,", 1)])
    row = made.find((code, "-"))
    assert row is not None
    assert row.code == "718-7"


def test_all_gaps_can_be_pasted_and_stay_gaps_until_they_are_completed() -> None:
    gaps = [
        MissingCode(
            "xn-1", "analytes", "ABC", "mg/dL", "What, ever", 3, "2026-03-01T10:00:00+00:00", "2026-03-02T10:00:00"
        ),
        MissingCode("xn-1", "analytes", "#A", "", "", 1),
        MissingCode("xn-1", "analytes", "*", "mg/dL", "", 1),
        MissingCode("xn-2", "analytes", "ABC", "mg/dL", "What", 1),
        MissingCode("xn-2", "analytes", "D\nE", "*", "", 1),
    ]
    lines = list(csv_lines(gaps))
    assert lines == [
        "# rows for table analytes; a row is done when it says what the code means",
        "code,unit_in,loinc,display,type,unit,ucum,factor,digits",
        "# xn-1: seen 3 times, last 2026-03-02, xn-2: seen 1 time",
        'ABC,mg/dL,,"What, ever",,,,,',
        "# xn-1: seen 1 time",
        '"#A",,,,,,,,',
        "# xn-1: seen 1 time",
        "# *,mg/dL,,,,,,,: a * would match anything",
        "# xn-2: seen 1 time",
        "# D E,*,,,,,,,: a * would match anything",
    ]
    made, found = paste(lines)
    assert found == [
        "warning t.csv:4:1: this row does not say what ABC means, and it stays a gap; complete it, or add a note",
        "warning t.csv:6:1: this row does not say what #A means, and it stays a gap; complete it, or add a note",
    ]
    assert made.find(("ABC", "mg/dL")) is None
    assert made.knows(("ABC", "mg/dL")) is None


def test_a_gap_of_another_table_has_the_columns_of_that_table() -> None:
    gap = MissingCode("c", "ucum", "furlong", "", "WBC", 2)
    assert list(csv_lines([gap], lambda _: ("unit_in", "ucum", "dimension")))[1:] == [
        "unit_in,ucum,dimension",
        "# c: seen 2 times",
        "furlong,,",
    ]
