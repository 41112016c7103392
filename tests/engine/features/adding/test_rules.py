"""The texts of a draft's files."""

from engine.features.adding import rules

ROW = {"code": "GLU", "unit_in": "mmol/L", "loinc": "14749-6", "display": "Glucose", "ucum": "mmol/L"}


def test_a_table_that_a_person_has_edited_keeps_its_rows() -> None:
    before = (
        "# of the bench\ncode,unit_in,loinc,factor,ucum\n# as agreed\nCREA,mg/dL,14682-9,88.42,umol/L\n"
        "GLU,mg/dL,14749-6,0.0555,mmol/L\nGLU,mmol/L,2345-7\n"
    )
    text = rules.table_text(before, [ROW])
    head, *lines = text.splitlines()
    assert head == "code,unit_in,loinc,factor,ucum,display,type,scale,source,meant"
    assert "CREA,mg/dL,14682-9,88.42,umol/L" in lines
    assert "GLU,mg/dL,14749-6,0.0555,mmol/L" in lines
    assert {"# of the bench", "# as agreed"} <= {*lines}
    assert [line for line in lines if line.startswith("GLU,mmol/L")] == ["GLU,mmol/L,14749-6,,mmol/L,Glucose,,,,"]
    assert rules.table_text(text, [ROW]) == text


def test_a_row_for_one_specimen_stays_beside_the_one_for_all() -> None:
    text = rules.table_text("code,unit_in,specimen,loinc\nGLU,mmol/L,UR,15076-3\n", [ROW])
    assert "GLU,mmol/L,UR,15076-3" in text.splitlines()


def test_a_code_that_a_spreadsheet_would_compute_has_one_row() -> None:
    row = {**ROW, "code": "=GLU"}
    assert rules.table_text(rules.table_text("", [row]), [row]).count("GLU") == 1
