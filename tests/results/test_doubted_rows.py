"""A row of a code table whose LOINC code is another analyte's than its name says: the check refuses it, the daemon goes
on and says it, and a column says that it is meant so."""

import logging
from pathlib import Path

import pytest

from engine.commands.shared.output import ExitCode
from engine.config.site import shipped
from engine.mapping.code_tables.plausible import Kinds, read_kinds
from engine.mapping.code_tables.table_files import read_table
from tests.support.command_line import labrelay
from tests.support.running import running_app
from tests.support.sites import SITE_YAML, make_site

FOLDER = shipped("mappings")
HEAD = "code,unit_in,loinc,display,type,scale,meant\n"
WRONG = "W4,mg/L,2345-7,C reactive protein,,,\n"
CHANNEL = """\
channel: chemistry
source: {kind: mllp, listen: "127.0.0.1:0"}
settings: {local_system: "urn:x", tables: {analytes: [tables/mine.csv, tables/analytes.csv]}}
routes:
  - mapping: hl7-results
    to: archive
"""
NO_PAGE = f"{SITE_YAML}web: {{enabled: false}}\n"


@pytest.fixture(scope="module")
def kinds() -> Kinds:
    assert FOLDER is not None
    texts = [(FOLDER / "tables" / name).read_text(encoding="utf-8") for name in ("loinc.csv", "ucum.csv")]
    return read_kinds(*texts)


def doubts(kinds: Kinds, row: str) -> list[str]:
    _, findings = read_table(HEAD + row, "t", "t.csv", ("code", "unit_in"), kinds.doubt)
    return [finding.at("t.csv") for finding in findings if finding.severity == "doubt"]


@pytest.mark.parametrize(
    ("row", "says"),
    [
        (  # a code from the line above
            WRONG,
            "t.csv:2:9: LOINC 2345-7 is Glucose [Mass/volume] in Serum or Plasma, and the row calls it C reactive "
            "protein, which is the name of 1988-5 (C reactive protein [Mass/volume] in Serum or Plasma)",
        ),
        (
            "W4,mg/L,2345-7,CRP,,,",
            "t.csv:2:9: LOINC 2345-7 is Glucose [Mass/volume] in Serum or Plasma, and the row calls it",
        ),
        ("GLU,mg/dL,2345-7,Glucose [Mass/volume] in Urine by Test strip,NM,,", "t.csv:2:11: LOINC 2345-7 is Glucose"),
        (
            "X,,5195-3,Hepatitis C virus Ab [Presence] in Serum,,Ord,",
            "t.csv:2:4: LOINC 5195-3 is Hepatitis B virus surface",
        ),
        (
            "COL,,5778-6,Color of Urine,NM,,",
            "t.csv:2:6: LOINC 5778-6 (Color of Urine) is a term for words (Nom), and type",
        ),
    ],
)
def test_a_row_that_contradicts_its_term_names_both(kinds: Kinds, row: str, says: str) -> None:
    (line,) = doubts(kinds, row)
    assert line.startswith(says)
    assert "or write yes into a column meant" in line


@pytest.mark.parametrize(
    "row",
    [
        "GLU,mg/dL,2345-7,Glucose [Mass/volume] in Serum or Plasma,NM,,",
        "GLU,mg/dL,2345-7,glucose,NM,,",
        "GLU,mg/dL,2345-7,Glukose,NM,,",  # in no table: nothing is known of it
        "GLU,mg/dL,2345-7,Blood sugar,NM,,",
        "WBC,10*3/uL,6690-2,WBC,NM,,",
        "WBC,10*3/uL,26464-8,WBC,NM,,",  # another term of the same analyte
        "BIL,mg/dL,1975-2,Bilirubin,NM,,",  # less said than in the term
        "X,mg/dL,98765-1,C reactive protein,NM,,",  # a term that the table does not have
        "W4,mg/L,2345-7,C reactive protein,,,yes",
        "COL,,5778-6,Color of Urine,NM,,yes",
        "HBS,,5195-3,Hepatitis B surface Ag,NM,Ord,",
    ],
)
def test_what_says_the_same_or_is_meant_so_passes(kinds: Kinds, row: str) -> None:
    assert doubts(kinds, row) == []


def test_a_unit_that_contradicts_the_term_may_be_meant_too(kinds: Kinds) -> None:
    row = "GLU,mmol/L,2345-7,,NM,,"
    assert [one.severity for one in read_table(HEAD + row, "t", "t.csv", ("code", "unit_in"), kinds.doubt)[1]] == [
        "error"
    ]
    assert read_table(f"{HEAD}{row}yes", "t", "t.csv", ("code", "unit_in"), kinds.doubt)[1] == []


def site(folder: Path, row: str) -> Path:
    made = make_site(folder, site=NO_PAGE, channels={"chemistry.yaml": CHANNEL})
    (made / "mappings/tables").mkdir()
    (made / "mappings/tables/mine.csv").write_text(HEAD + row)
    return made


def test_the_check_fails(tmp_path: Path) -> None:
    ran = labrelay("check", site=site(tmp_path, WRONG))
    assert ran.code == ExitCode.CONFIG
    assert "tables/mine.csv:2:9: LOINC 2345-7 is Glucose" in ran.out
    assert "C reactive protein" in ran.out


async def test_the_daemon_goes_on_and_warns_at_its_start_and_with_each_reload(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = site(tmp_path, "W4,mg/L,1988-5,C reactive protein,,,\n")
    async with running_app(folder, own_tables=True) as app:
        assert "is Glucose" not in caplog.text
        (folder / "mappings/tables/mine.csv").write_text(HEAD + WRONG)
        said = await app.reload()
        assert [line for line in said.warnings if "mine.csv:2:9: LOINC 2345-7 is Glucose" in line]
    caplog.clear()
    with caplog.at_level(logging.WARNING):
        async with running_app(folder, own_tables=True):
            assert "mine.csv:2:9: LOINC 2345-7 is Glucose" in caplog.text
