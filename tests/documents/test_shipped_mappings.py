"""The shipped mappings: their own tests pass and reach every rule, and their tables hold what they promise."""

import csv
from functools import cache
from pathlib import Path

import pytest

from engine.mapping import load
from engine.mapping.code_tables.table_files import read_table
from engine.mapping.code_tables.tables import Table
from engine.mapping.code_tables.units import loinc_check_digit_holds, ucum_problem
from engine.mapping.trying.testing import Runner, Test, read_tests
from engine.processing.names import are_read
from tests.support.shipped import ANALYZERS, MAPPINGS, program
from workbench.bench.mapping_case import shipped_mappings

TESTS = [test for path in sorted((MAPPINGS / "tests").glob("*.yaml")) for test in read_tests(path)]
TABLES = [*sorted((MAPPINGS / "tables").glob("*.csv")), *sorted(ANALYZERS.glob("*/codes.csv"))]


def _name(path: Path) -> str:
    """``sysmex-xn`` or ``ucum``."""
    return path.parent.name if path.stem == "codes" else path.stem


LISTS = tuple(f"{one}-to-{form}" for one in ("hl7", "hl7-oul", "astm") for form in ("csv", "json"))
NAMES = ("hl7-results", "hl7-oul-results", "astm-results", "astm-to-hl7", *LISTS)


@cache
def runner() -> Runner:
    """One for all: it keeps what it has compiled, which takes longer than a test."""
    return Runner()


@pytest.mark.parametrize("test", TESTS, ids=lambda test: f"{test.place} {test.name}")
def test_each_test_of_the_mappings_passes(test: Test) -> None:
    outcome = runner().run(test, (MAPPINGS, ANALYZERS))
    assert outcome.passed, "\n".join(outcome.failures)


@pytest.mark.parametrize("name", NAMES)
def test_the_check_finds_nothing_to_complain_of(name: str) -> None:
    assert program(name).problems == ()


@pytest.mark.parametrize("name", shipped_mappings([MAPPINGS]))
def test_reports_and_patients_are_known_by_numbers_that_are_read_before_the_mapping(name: str) -> None:
    """The order of messages across channels rests on them."""
    found = load(name, (MAPPINGS, ANALYZERS))  # as the runner has compiled it
    assert are_read(found.format, found.report_numbers, found.identity), found.report_numbers


@pytest.mark.compiles  # a program of another test has values kept, and a rule that is not asked for one does not run
def test_every_rule_of_the_hl7_mapping_and_of_lists_runs_in_some_test() -> None:
    measuring = Runner(measure=True)
    for test in TESTS:
        measuring.run(test, (MAPPINGS, ANALYZERS))
    for names in (("hl7-results",), LISTS):
        ran = set().union(*(rules for (name, _), rules in measuring.covered.items() if name in names))
        never = {rule: _line(rule) for name in names for rule in program(name).rule_lines - ran}
        # A value that is only computed where another rule asks for it is counted where it is asked for.
        assert {rule: line for rule, line in never.items() if not line.startswith(LAZY)} == {}


LAZY = ("specimen_no:", "result_status:", "words:")


def _line(rule: str) -> str:
    file, _, number = rule.partition(":")
    return (MAPPINGS / file).read_text(encoding="utf-8").splitlines()[int(number) - 1].strip()


def _read(path: Path) -> Table:
    key = {"ucum": ["unit_in"], "loinc": ["code"]}.get(path.stem, ["code", "unit_in"])
    table, findings = read_table(path.read_text(encoding="utf-8"), path.stem, path.name, key)
    assert [finding.at(path.name) for finding in findings] == []
    return table


@pytest.mark.parametrize("path", TABLES, ids=_name)
def test_tables_are_without_findings_and_name_their_source(path: Path) -> None:
    for row in _read(path).rows:
        if "loinc" in row.cells:
            assert loinc_check_digit_holds(row.cells["loinc"])
            assert row.cells.get("source"), f"{path.name}:{row.line}: without evidence"
        if row.ucum:
            assert ucum_problem(row.ucum) is None or not ucum_problem(row.ucum), row.name


@pytest.mark.parametrize("path", [path for path in TABLES if path.stem != "ucum"], ids=_name)
def test_tables_with_loinc_codes_carry_the_licence_notice(path: Path) -> None:
    head = [line for line in path.read_text(encoding="utf-8").splitlines() if line.startswith("#")]
    assert any("loinc.org/license" in line for line in head)
    assert all(len(line) <= 120 for line in head)


def test_the_generic_table_speaks_of_declared_loinc_codes_only() -> None:
    """The same mnemonic means different analytes on different analyzers: no mnemonic stands here."""
    for row in _read(MAPPINGS / "tables" / "analytes.csv").rows:
        assert row.cells["code"] == row.cells["loinc"]
        assert not row.converts


def test_a_conversion_names_the_unit_it_leads_to() -> None:
    for path in TABLES:
        for row in _read(path).rows:
            assert not row.converts or (row.unit and row.ucum), f"{path.name}:{row.line}"


@pytest.mark.parametrize(
    ("text", "code"),
    [("10^3/uL", "10*3/uL"), ("K/uL", "10*3/uL"), ("MG/DL", "mg/dL"), ("gm%", "g/dL"), ("Copies / mL", "{copies}/mL")],
)
def test_units_that_look_like_others_get_their_code(text: str, code: str) -> None:
    row = _read(MAPPINGS / "tables" / "ucum.csv").find((text,))
    assert row is not None
    assert row.ucum == code


@pytest.mark.parametrize("text", ["10^3/", "S", "IU/L", "m/uL", "mm3", "lakhs/cumm", "Ct", "N/A", "*", "1"])
def test_units_that_their_text_does_not_decide_get_none(text: str) -> None:
    assert _read(MAPPINGS / "tables" / "ucum.csv").find((text,)) is None


def test_every_table_is_whole_lines_of_utf8() -> None:
    for path in TABLES:
        with path.open(encoding="utf-8", newline="") as lines:
            rows = list(csv.reader(line for line in lines if not line.startswith("#")))
        assert {len(row) for row in rows} == {len(rows[0])}, path.name
