"""UCUM units: our small reader against another implementation of the standard, and what kind of quantity a unit is."""

import csv
import random
import re
from pathlib import Path

import pytest
import ucumvert  # type: ignore[import-untyped] # has no types
from lark import Lark
from lark.exceptions import LarkError
from ucumvert import xml_util

from engine.config.site import shipped
from engine.mapping.code_tables import units
from engine.mapping.code_tables.units import dimension, loinc_check_digit_holds, ucum_problem

EXAMPLES = Path(ucumvert.__file__).parent / "vendor" / "ucum_examples.tsv"
NOT_IN_THE_CODE = {"Torr"}  # among the published examples, and no unit of the essence
# What the other implementation takes and the standard's grammar does not: 2-3, {a}{b}.
BEYOND_THE_GRAMMAR = re.compile(r"(?:^|[./(])[0-9]+[+-][0-9]|\}\{")
PIECES = (
    *"g m L l mol % 10* 10^ [iU] [pH] 2 -3 +2 1 0 00 10 {a} {} {#/x} k u da m[Hg] d h K 24 mm [ U Cel".split(),  # noqa: SIM905
    *("/", ".", "(", ")", "/", ".", "(", ")", " ", "{a b}", "µ"),
)
LINES = (Path(__file__).parent / "ucum_units.tsv").read_text("utf-8").splitlines()
CASES = [line.split("\t") for line in LINES if not line.startswith("#")]
DEEP = ("(" * 5000 + "g", "it is nested too deeply")
PACKS = shipped("analyzers")
TABLES = shipped("mappings")


@pytest.fixture(scope="module")
def other() -> Lark:
    parser: Lark = ucumvert.get_ucum_parser()
    return parser


def takes(other: Lark, unit: str) -> bool:
    try:
        other.parse(unit)
    except LarkError:
        return False
    return True


def test_every_atom_and_prefix_is_known_and_no_other() -> None:
    assert set(xml_util.get_base_units() + xml_util.get_metric_units()) == units._METRIC
    assert set(xml_util.get_non_metric_units()) == units._OTHER
    assert set(units._PREFIXES) == set(xml_util.get_prefixes())


def test_published_examples_are_units() -> None:
    lines = EXAMPLES.read_text(encoding="utf-8").splitlines()[1:]
    wrong = {code: problem for line in lines if (problem := ucum_problem(code := line.split("\t")[1]))}
    assert len(lines) > 800
    assert set(wrong) == NOT_IN_THE_CODE, wrong


@pytest.mark.parametrize("seed", range(4))
def test_both_agree_on_whatever_is_put_together(other: Lark, seed: int) -> None:
    draw = random.Random(seed)
    taken = 0
    for _ in range(4000):
        unit = "".join(draw.choice(PIECES) for _ in range(draw.randint(1, 6)))
        ours, theirs = not ucum_problem(unit), takes(other, unit)
        taken += theirs
        if ours != theirs:
            assert theirs, f"{unit} is no unit"
            assert BEYOND_THE_GRAMMAR.search(unit), f"{unit} is one, and we say: {ucum_problem(unit)}"
    assert taken > 200


def test_both_agree_on_every_unit_of_a_shipped_table(other: Lark) -> None:
    assert PACKS is not None
    assert TABLES is not None
    found: set[str] = set()
    for path in [*PACKS.glob("*/*.csv"), *(TABLES / "tables").glob("*.csv")]:
        lines = [line for line in path.read_text(encoding="utf-8").splitlines() if not line.startswith("#")]
        found |= {row["ucum"] for row in csv.DictReader(lines) if row.get("ucum")}
    assert len(found) > 60
    assert [unit for unit in sorted(found) if ucum_problem(unit) or not takes(other, unit)] == []


@pytest.mark.parametrize(("unit", "says"), [(unit, says) for unit, says, _ in CASES if says] + [DEEP])
def test_what_is_wrong_is_said(unit: str, says: str) -> None:
    assert ucum_problem(unit) == says


@pytest.mark.parametrize(("unit", "kind"), [(unit, kind) for unit, _, kind in CASES if kind])
def test_what_a_unit_measures(unit: str, kind: str) -> None:
    assert (dimension(unit) or "-") == kind


def test_computed_kinds_agree_with_the_shipped_table_of_units() -> None:
    assert TABLES is not None
    lines = (TABLES / "tables/ucum.csv").read_text(encoding="utf-8").splitlines()
    rows = list(csv.DictReader(line for line in lines if not line.startswith("#")))
    told = [(row["ucum"], row["dimension"], found) for row in rows if (found := dimension(row["ucum"]))]
    assert len(told) > 60
    assert [one for one in told if one[1] != one[2]] == []


def test_terms_that_were_published_with_a_wrong_check_digit_exist() -> None:
    """The fourteen of the LOINC Users' Guide, appendix C."""
    for code in ("11491-6", "11501-6", "5895-7", "6649-9"):
        assert loinc_check_digit_holds(code)
    assert len(units._OFFICIAL) == 14
    assert not loinc_check_digit_holds("11491-5")
