"""The tables of lots and targets: each mistake has its line and column, and a table with one is not taken in part."""

import pytest

from engine.features.quality_control.rules.lots import Known, Lot, TargetOf, expiry_of, known_as, why_not
from engine.features.quality_control.rules.tables import CONTROLS, TARGETS, TargetRow, read
from engine.model.content.quality_controls import ControlResult
from engine.model.errors import ConfigError

LOTS = ",".join(CONTROLS) + "\n"
FIGURES = ",".join(TARGETS) + "\n"
CHANNELS = {"chem"}


def problems(text: str) -> list[str]:
    with pytest.raises(ConfigError) as refused:
        read(text, "t.csv", CHANNELS)
    return list(refused.value.problems)


def test_a_table_of_lots_and_one_of_targets() -> None:
    text = LOTS + "chem, PC* ,PreciControl,L1,A7,2027-06-30\n# a remark\n\n*,QC,Own,L2,B,\n"
    assert read(text, "t.csv", CHANNELS).lots == (
        Lot("chem", "PC*", "PreciControl", "L1", "A7", "2027-06-30"),
        Lot("", "QC", "Own", "L2", "B", ""),
    )
    text = "\ufeff" + FIGURES + 'chem,,GLU,L1,A7,"mg/dL",5.60,0.12,maker\n'
    assert read(text, "t.csv", CHANNELS).targets == (
        TargetRow("chem", "", "GLU", "L1", "A7", "mg/dL", "5.60", "0.12", "maker"),
    )


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "t.csv:1:1: the first line is analyzer,number"),
        ("number,lot\n", "t.csv:1:1: the first line is analyzer,number"),
        (LOTS + "chem,QC,Own,L1,A7\n", "t.csv:2:1: 5 cells; the first line has 6"),
        (LOTS + "chem,,Own,L1,A7,\n", "t.csv:2:6: number: it is empty"),
        (LOTS + "chem,QC,Own,L1,A7,June\n", "t.csv:2:19: expires: a date, as 2027-06-30"),
        (LOTS + "chem,QC,Own,L1,A7,2027-02-30\n", "t.csv:2:19: expires: a date, as 2027-06-30"),
        (LOTS + "hema,QC,Own,L1,A7,\n", "t.csv:2:1: analyzer: there is no channel hema"),
        (LOTS + f"chem,{'9' * 61},Own,L1,A7,\n", "t.csv:2:6: number: 60 printable characters at most"),
        (LOTS + "chem,QC,Own,L1,A7,\n\nchem,QC,Other,L1,A7,\n", "t.csv:4:1: the same as line 2"),
        (LOTS + "chem,QC,Own,L1,A7,\nchem,QC,Own,L2,B7,\n", "t.csv:3:1: the same as line 2"),
        (LOTS + 'chem,QC,"Own' + "x" * 140_000, "t.csv:1:1: it is no CSV: field larger"),
        (LOTS + "chem,QC,Own\u2028L1,A7,,\n", "t.csv:2:9: material: 60 printable characters"),
        (FIGURES + "chem,,GLU,L1,A7,,५.६,0.1,maker\n", "t.csv:2:18: mean: a number, as 5.60"),
        (FIGURES + "chem,,GLU,L1,A7,,5,6,0.1,maker\n", "t.csv:2:1: 10 cells; the first line has 9"),
        (FIGURES + 'chem,,GLU,L1,A7,,"5,6",0.1,maker\n', "t.csv:2:18: mean: a number, as 5.60"),
        (FIGURES + "chem,,GLU,L1,A7,,5.6,0,maker\n", "t.csv:2:22: sd: above 0"),
        (FIGURES + "chem,,GLU,L1,A7,,5.6,-1,maker\n", "t.csv:2:22: sd: above 0"),
        (FIGURES + "chem,,GLU,L1,A7,,5.6,0.1,us\n", "t.csv:2:26: source: one of maker, interim, lab, peer"),
        (FIGURES + "*,,GLU,L1,A7,,5.6,0.1,lab\n", "t.csv:2:1: analyzer: there is no channel *"),
    ],
)
def test_a_mistake_has_its_line_and_column(text: str, said: str) -> None:
    assert problems(text)[0].startswith(said)


def test_a_table_that_is_too_long_says_no_more() -> None:
    assert problems(LOTS + "x\n" * 100_000) == ["t.csv:5002:1: there are 100000 rows; 5000 at most"]


def test_a_table_says_all_that_is_wrong() -> None:
    assert len(problems(FIGURES + "chem,,GLU,L1,A7,,x,y,lab\nchem,,,L1,A7,,5,1,lab\n")) == 3


LISTED = [
    Lot("chem", "QC*", "Own", "any", "A"),
    Lot("chem", "QC-L1", "Own", "L1", "A7"),
    Lot("chem", "QC-*", "Own", "some", "A", "2026-03-31"),
]


@pytest.mark.parametrize(
    ("given", "known"),
    [
        ({"number": "QC-L1"}, Known("L1", "A7", listed=True)),
        ({"number": "QC-L1", "lot": "A7", "level": "1"}, Known("L1", "A7", listed=True)),
        ({"number": "QC-L1", "lot": "B8", "expires": "20280101"}, Known("L1", "B8", "2028-01-01", listed=True)),
        ({"number": "QC-L9"}, Known("some", "A", "2026-03-31", listed=True)),
        ({"number": "QC7"}, Known("any", "A", listed=True)),
        ({"number": "6", "level": "M", "lot": "88"}, Known("M", "88", listed=True)),
        ({"number": "6", "lot": "88", "expires": "20270630000000"}, Known("6", "88", "2027-06-30", listed=True)),
        ({"number": "X"}, Known("X", "")),
        ({"number": ""}, Known("", "")),
    ],
)
def test_the_site_says_what_a_number_is_before_the_message_does(given: dict[str, str], known: Known) -> None:
    assert known_as(ControlResult(test="GLU", **given), LISTED) == known


def test_a_lot_is_evaluated_on_its_last_day() -> None:
    target = TargetOf(1, "", "5", "1")
    known = Known("L1", "A", "2026-03-31", listed=True)
    control = ControlResult(test="GLU", value="5")
    days = ["2026-03-31", "2026-04-01"]
    assert [why_not(control, known, target, day) for day in days] == ["", "lot expired"]
    assert why_not(control, known, TargetOf(1, "", "5", "0"), days[0]) == "no SD"


@pytest.mark.parametrize(("text", "date"), [("", ""), ("2027-06", ""), ("20270630", "2027-06-30"), ("2027-13-01", "")])
def test_a_date_of_expiry(text: str, date: str) -> None:
    assert expiry_of(text) == date


def test_of_two_equal_numbers_that_of_the_analyzer_comes_first() -> None:
    both = [Lot("", "QC-L1", "Other", "L3", "A"), Lot("chem", "QC-L1", "Chemtrol", "L1", "A7")]
    for lots in (both, both[::-1]):
        assert known_as(ControlResult(test="GLU", number="QC-L1"), lots).level == "L1"
