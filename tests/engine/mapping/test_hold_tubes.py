"""Rules about several results of one tube, rules that only count, and what each rule has said."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from adapters.codecs.astm import records
from engine.config.reading.yaml_nodes import Node
from engine.mapping.hold_rules.rules import HoldRules, RuleText, compile_holding
from engine.mapping.measured import results_in
from engine.model.content.facts import LEFT_OUT, Facts, Measure, Order, Person, Sample, Value
from engine.model.content.facts import Result as Fact
from engine.model.content.results import Result, results_of
from engine.model.errors import ConfigError
from engine.model.journal.records import HoldReason, RuleAnswer
from engine.model.message import FormatOptions, MapContext
from engine.model.texts.reasons import ReasonCode
from tests.engine.mapping.test_hold_rules import MESSAGE, Known, bundle, observation

CAUSES = {ReasonCode.HELD_BY_RULE: "held", ReasonCode.HOLD_UNDECIDED: "undecided"}


def rules(*texts: str, search: Sequence[Path] = (), **more: Any) -> HoldRules:
    nodes = [Node(kind="scalar", file="lab.yaml", line=n, column=1, value=text) for n, text in enumerate(texts, 1)]
    return compile_holding([RuleText(node, **more) for node in nodes], "hl7v2", "fhir/R4", search)


def tube(values: Mapping[str, str | None], of: str = "urn:uuid:s1") -> list[dict[str, Any]]:
    """A result for each code; None: it has no value. ``of``: their specimen; empty: none is named."""
    more = {"specimen": {"reference": of}} if of else {}
    found = []
    for code, value in values.items():
        coding = {"coding": [{"system": "http://loinc.org", "code": code}]}
        found.append(observation(value, id=f"o{code}{of}", **more) | {"code": coding})
    return found


def decided(holding: HoldRules, *observations: dict[str, Any], past: Known | None = None) -> HoldReason | None:
    return holding.about(holding.facts(MESSAGE, results_of(bundle(*observations)))).decide(past or Known(), 0)


def outcome(text: str, *observations: dict[str, Any], past: Known | None = None, search: Sequence[Path] = ()) -> str:
    found = decided(rules(text, search=search), *observations, past=past)
    return "no" if found is None else CAUSES[found.reason]


HB_HCT = "=code == 'HB' and abs(value * 3 - other('HCT')) > 3"
GAP = "=code == 'NA' and (value - other('CL') - other('HCO3') < 3 or value - other('CL') - other('HCO3') > 25)"
SUM = "=code == 'NEU' and (value + other('LYM') + other('MON') < 98 or value + other('LYM') + other('MON') > 102)"
# The examples of cross-tests: rule, what the tube has, what follows
CROSS: list[tuple[str, Mapping[str, str | None], str]] = [
    (HB_HCT, {"HB": "14", "HCT": "42"}, "no"),
    (HB_HCT, {"HB": "14", "HCT": "45"}, "no"),  # exactly on the limit is inside
    (HB_HCT, {"HB": "14", "HCT": "45.1"}, "held"),
    (HB_HCT, {"HB": "14", "HCT": "38.9"}, "held"),
    (HB_HCT, {"HB": "14"}, "undecided"),
    (HB_HCT, {"HB": "14", "HCT": None}, "undecided"),
    (HB_HCT, {"HCT": "45"}, "no"),  # it concerns haemoglobin alone
    ("=code == 'ALB' and value >= other('TP')", {"ALB": "40", "TP": "40"}, "held"),
    ("=code == 'ALB' and value >= other('TP')", {"ALB": "40", "TP": "70"}, "no"),
    ("=code == 'DBIL' and value > other('TBIL')", {"DBIL": "1.2", "TBIL": "1.1"}, "held"),
    ("=code == 'DBIL' and value > other('TBIL')", {"DBIL": "1.2", "TBIL": "<0.5"}, "held"),
    ("=code == 'DBIL' and value > other('TBIL')", {"DBIL": "1.2", "TBIL": "<5"}, "undecided"),
    (GAP, {"NA": "140", "CL": "104", "HCO3": "24"}, "no"),
    (GAP, {"NA": "140", "CL": "115", "HCO3": "24"}, "held"),
    (GAP, {"NA": "140", "CL": "90", "HCO3": "20"}, "held"),
    ("=code == 'TC' and other('HDL') + other('LDL') > value", {"TC": "5", "HDL": "2", "LDL": "3.1"}, "held"),
    ("=code == 'TC' and other('HDL') + other('LDL') > value", {"TC": "5", "HDL": "2", "LDL": "3"}, "no"),
    (SUM, {"NEU": "60", "LYM": "30", "MON": "10"}, "no"),
    (SUM, {"NEU": "60", "LYM": "30", "MON": "7.9"}, "held"),
    ("=code == 'K' and value > 6 and other('CA') < 1.9", {"K": "7.1", "CA": "1.1"}, "held"),  # EDTA
    ("=code == 'K' and value > 6 and other('CA') < 1.9", {"K": "7.1", "CA": "2.4"}, "no"),
    ("=code == 'K' and value > 6 and other('CA') < 1.9", {"K": "4.1"}, "no"),  # false whatever calcium is
    ("=code == 'K' and value > 6 and (other('CA') | 2.4) < 1.9", {"K": "7.1"}, "no"),
    ("=code == 'K' and known(other('CA'))", {"K": "7.1"}, "no"),
]


@pytest.mark.parametrize(("rule", "values", "expected"), CROSS)
def test_results_of_one_tube_are_asked_beside_each_other(
    rule: str, values: Mapping[str, str | None], expected: str
) -> None:
    assert outcome(rule, *tube(values)) == expected


def test_another_tube_is_another_and_without_one_nothing_is_known() -> None:
    one, two = tube({"HB": "14"}), tube({"HCT": "60"}, "urn:uuid:s2")
    assert outcome(HB_HCT, *one, *two) == "undecided"
    assert outcome(HB_HCT, *one, *two, *tube({"HCT": "42"})) == "no"
    assert outcome(HB_HCT, *tube({"HB": "14", "HCT": "42"}, "")) == "undecided"
    assert outcome(HB_HCT, *one, *tube({"HCT": "42"}), *tube({"HCT": "42"})) == "no"  # twice the same
    assert outcome(HB_HCT, *one, *tube({"HCT": "42"}), *tube({"HCT": "60"})) == "undecided"


@pytest.fixture
def tables(tmp_path: Path) -> tuple[Path]:
    (tmp_path / "tables").mkdir()
    (tmp_path / "tables/hil.csv").write_text("code,index,high\nK,H,50\nALT,H,200\nALT,L,600\n")
    (tmp_path / "tables/delta.csv").write_text(
        "code,unit,change,percent,within\nMCV,g/dL,3,,7d\nHB,g/dL,2,,7d\nPLT,g/dL,,50,7d\n"
    )
    (tmp_path / "tables/measuring.csv").write_text("code,unit,low,high\nK,g/dL,1.5,10\n")
    return (tmp_path,)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"K": "5", "H": "50"}, "no"),
        ({"K": "5", "H": "51"}, "held"),
        ({"K": "5", "H": "<20"}, "no"),
        ({"K": "5"}, "undecided"),
        ({"NA": "140"}, "no"),
        ({"NA": "140", "H": "500"}, "no"),
        ({"ALT": "30", "H": "10", "L": "601"}, "held"),
        ({"ALT": "30", "L": "601"}, "held"),  # true whatever the other is
        ({"ALT": "30", "H": "10"}, "undecided"),
    ],
)
def test_an_index_of_the_tube_holds_the_tests_that_it_disturbs(
    tables: tuple[Path], values: Mapping[str, str], expected: str
) -> None:
    assert outcome("=interference('hil')", *tube(values), search=tables) == expected


@pytest.mark.parametrize(
    ("before", "expected"),
    [
        ({"MCV": "80", "HB": "10", "PLT": "100"}, "no"),
        ({"MCV": "84", "HB": "10", "PLT": "100"}, "no"),
        ({"MCV": "84", "HB": "13", "PLT": "100"}, "held"),
        ({"MCV": "84", "HB": "13"}, "held"),
        ({"MCV": "84"}, "no"),
        ({}, "undecided"),
    ],
)
def test_two_deltas_of_one_tube_are_perhaps_another_patients(
    tables: tuple[Path], before: Mapping[str, str], expected: str
) -> None:
    of = tube({"MCV": "80", "HB": "10", "PLT": "100", "NA": "140"})
    rule = "=code == 'MCV' and failed_deltas('delta') >= 2"
    assert outcome(rule, *of, past=Known(before), search=tables) == expected
    assert rules(rule, search=tables).asks_the_past


@pytest.mark.parametrize(("value", "expected"), [("1.4", "held"), (">10", "held"), ("10", "no"), ("<1.5", "held")])
def test_a_measuring_range_is_a_table_of_limits(tables: tuple[Path], value: str, expected: str) -> None:
    assert outcome("=critical('measuring')", *tube({"K": value}), search=tables) == expected


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("=other(1) > 2", "other wants the code of a result in quotes"),
        ("=other('K')", ""),
        ("=interference('delta')", "column 'index' is missing"),
        ("=interference('none')", "there is no table tables/none.csv"),
        ("=failed_deltas('hil') > 1", "column 'unit' is missing"),
        ("=interference(hil)", "wants the name of a table in quotes"),
    ],
)
def test_what_cannot_be_right_is_refused(tables: tuple[Path], text: str, problem: str) -> None:
    if not problem:
        assert rules(text, search=tables).rules
        return
    with pytest.raises(ConfigError, match=problem.replace("(", r"\(")):
        rules(text, search=tables)


# -- facts -------------------------------------------------------------------------------------------------------------


def fact(place: int, test: str, value: str, **more: Any) -> Fact:
    return Fact(place, measure=Measure(test=test, codes=(f"|{test}",)), value=Value(value, meant=value), **more)


def read(*orders: Order, **settings: Any) -> list[Result]:
    parsed = records.parse(b"H|\\^&\rL|1|N\r", FormatOptions())
    context = MapContext(channel="lab", key=b"k", settings=settings)
    return results_in(Facts(people=(Person("MR1", orders=orders),)), parsed, context)


def test_what_is_computed_from_a_test_is_held_with_it(tables: tuple[Path]) -> None:
    """Its index, and its failed control."""
    for listed, wanted in (({"RATIO": ["K"], "RISK": ["RATIO"]}, "held"), ({"RATIO": []}, "no"), ({}, "no")):
        for test in ("RATIO", "RISK"):
            results = read(
                Order(1, filler="A", results=(fact(1, test, "7.1"), fact(2, "H", "90", kind=LEFT_OUT))), computed=listed
            )
            for text in ("=interference('hil')", "=qc_failed('24h') | false"):
                holding = rules(text, search=tables)
                why = holding.about(holding.facts(MESSAGE, results)).decide(Known(controls={"K": True}), 0)
                assert ("no" if why is None else CAUSES[why.reason]) == wanted, (text, test, listed)


def test_facts_say_which_tube_a_result_is_of_and_what_is_left_out() -> None:
    one, two = Sample(number="T1"), Sample(number="T2")
    found = read(
        Order(1, filler="A", samples=(one,), results=(fact(1, "K", "7.1"), fact(2, "H", "90", kind=LEFT_OUT))),
        Order(2, filler="B", samples=(one,), results=(fact(3, "CA", "1.1"),)),
        Order(3, filler="C", samples=(two,), results=(fact(4, "CA", "2.4"),)),
        Order(4, results=(fact(5, "NA", "140"),)),
        Order(5, results=(fact(6, "CL", "100"),)),
    )
    assert [(one.test, one.tube, one.beside) for one in found] == [
        ("K", 1, False), ("H", 1, True), ("CA", 1, False), ("CA", 2, False), ("NA", 3, False), ("CL", 4, False),
    ]  # fmt: skip
    holding = rules("=code == 'K' and (other('CA') < 2 and other('H') > 50)", "=code == 'H'")
    asked = holding.about(holding.facts(MESSAGE, found))
    why = asked.decide(Known(), 0)
    assert why is not None
    assert why.text.endswith("(K)")
    assert [(one.seen, one.hit) for one in asked.answers] == [(5, ("K",)), (5, ())]  # what is left out is not asked
    assert list(asked.tests) == ["K", "CA", "CA", "NA", "CL"]


# -- shadows, and what was said ---------------------------------------------------------------------------------------


def test_a_shadow_counts_what_it_would_hold_and_holds_nothing() -> None:
    holding = rules("=value > 14", "=low > 1", "=PV1-2 == 'E'", shadow=True)
    asked = holding.about(holding.facts(MESSAGE, results_of(bundle(*tube({"HB": "15", "HCT": "3"})))))
    assert asked.answers == []
    assert asked.decide(Known(), 0) is None
    versions = [one.version for one in holding.rules]
    assert asked.answers == [
        RuleAnswer("value > 14", versions[0], True, 2, ("HB",), ()),
        RuleAnswer("low > 1", versions[1], True, 2, (), ("HB", "HCT")),
        RuleAnswer("PV1-2 == 'E'", versions[2], True, 1, (), ()),
    ]
    unread = holding.about(holding.facts(MESSAGE, None))
    assert unread.decide(Known(), 0) is None
    assert [one.unknown for one in unread.answers] == [("",)] * 3
    both = HoldRules((*holding.rules, *rules("=value > 99").rules))
    assert both.about(both.facts(MESSAGE, None)).decide(Known(), 0) is not None


def test_a_part_of_a_document_is_counted_as_that_part() -> None:
    holding = rules("=value > 14")
    whole = holding.about(holding.facts(MESSAGE, results_of(bundle(*tube({"HB": "15", "HCT": "45"})))))
    parts = [whole.among(lambda one, test=test: one.test == test) for test in ("HB", "HCT")]  # type: ignore[misc]
    assert [part.decide(Known(), 0) is not None for part in parts] == [True, True]
    assert [part.answers[0].hit for part in parts] == [("HB",), ("HCT",)]
    assert not whole.answers


def test_a_version_is_of_the_text_and_of_the_tables(tables: tuple[Path]) -> None:
    def version(text: str, **more: Any) -> str:
        return rules(text, search=tables, **more).rules[0].version

    first = version("=critical('measuring')")
    assert first == version("=critical('measuring')", name="range", reason="out of range", shadow=True)
    assert first != version("=not critical('measuring')")
    (tables[0] / "tables/measuring.csv").write_text("code,unit,low,high\nK,g/dL,1.5,11\n")
    assert first != version("=critical('measuring')")


def test_a_rule_is_counted_by_its_name_and_two_have_not_the_same() -> None:
    named = [rules("=value > 1", **more).rules[0].name for more in ({}, {"reason": "r"}, {"reason": "r", "name": "n"})]
    assert named == ["value > 1", "r", "n"]
    with pytest.raises(ConfigError, match="two rules have the name 'n'"):
        rules("=value > 1", "=value > 2", name="n")
