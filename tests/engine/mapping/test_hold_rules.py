"""Rules that hold results back: what they know, what they do not know, and that neither is taken for the other."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.codecs.astm import records
from adapters.codecs.hl7v2 import message as hl7v2
from engine.config.reading.yaml_nodes import Node
from engine.mapping.hold_rules.answers import critical
from engine.mapping.hold_rules.limits import CRITICAL, read_limits
from engine.mapping.hold_rules.names import HoldContext
from engine.mapping.hold_rules.rules import HoldRules, RuleText, compile_holding
from engine.mapping.hold_rules.values import Bound, arithmetic, both, compare, either, negated
from engine.mapping.measured import Reading
from engine.model.content.results import Result, from_json, results_of
from engine.model.errors import ConfigError
from engine.model.journal.records import HoldReason
from engine.model.message import Document, FormatOptions, MapContext, Parsed
from engine.model.texts.reasons import ReasonCode
from tests.support.mapping_texts import HL7

HOUR = 3_600_000_000
MESSAGE = hl7v2.parse(HL7.replace("\n", "\r").encode(), FormatOptions())
LOINC = "http://loinc.org"


class Known:
    """What a test says about the past."""

    def __init__(
        self,
        values: Mapping[str, str] | None = None,
        controls: Mapping[str, bool] | None = None,
        hours: str | None = None,
    ) -> None:
        self.values = values or {}
        self.hours = hours
        self.controls = controls or {}
        self.within: list[int] = []

    def value(self, result: Result, within_us: int) -> Decimal | None:
        self.within.append(within_us)
        found = (self.values.get(code) for _, code in result.codes)
        return next((Decimal(text) for text in found if text is not None), None)

    def days(self, result: Result, within_us: int) -> Decimal | None:
        return None if self.hours is None else Decimal(self.hours) / 24

    def control_failed(self, codes: tuple[str, ...], within_us: int) -> bool | None:
        self.within.append(within_us)
        judged = [self.controls[code] for code in codes if code in self.controls]
        return any(judged) if judged else None


def observation(value: str | None = "14.8", *, code: str = "718-7", unit: str = "g/dL", **more: Any) -> dict[str, Any]:
    made: dict[str, Any] = {
        "resourceType": "Observation",
        "id": "o1",
        "status": "final",
        "code": {"coding": [{"system": LOINC, "code": code}, {"system": "urn:x", "code": "HGB"}]},
        "subject": {"reference": "urn:uuid:p"},
        "effectiveDateTime": "2026-03-01T09:45:00+05:30",
    }
    if value is not None:
        comparator = value.rstrip("0123456789.")
        made["valueQuantity"] = {"value": orjson.Fragment(value.lstrip("<>=")), "unit": unit, "code": unit}
        if comparator:
            made["valueQuantity"]["comparator"] = comparator
    return made | more


def bundle(*observations: dict[str, Any], patient: Mapping[str, Any] | None = None) -> bytes:
    person = {"resourceType": "Patient", "gender": "female", "birthDate": "1980-04-12", **(patient or {})}
    entries = [{"fullUrl": "urn:uuid:p", "resource": person}]
    entries += [{"fullUrl": f"urn:uuid:o{n}", "resource": one} for n, one in enumerate(observations)]
    return orjson.dumps({"resourceType": "Bundle", "type": "collection", "entry": entries})


def rules(*texts: str, search: Sequence[Path] = (), column: int = 11) -> HoldRules:
    nodes = [
        Node(kind="scalar", file="channels/lab.yaml", line=n + 7, column=column, value=t) for n, t in enumerate(texts)
    ]
    return compile_holding([RuleText(node) for node in nodes], "hl7v2", "fhir/R4", search)


def ask(
    text: str, *observations: dict[str, Any], past: Known | None = None, search: Sequence[Path] = (), **patient: Any
) -> HoldReason | None:
    holding = rules(text, search=search)
    body = bundle(*(observations or (observation(),)), patient=patient)
    return holding.about(holding.facts(MESSAGE, results_of(body))).decide(past or Known(), 0)


def outcome(text: str, *observations: dict[str, Any], **more: Any) -> str:
    """``no``, ``held`` or ``undecided``."""
    found = ask(text, *observations, **more)
    if found is None:
        return "no"
    return {ReasonCode.HELD_BY_RULE: "held", ReasonCode.HOLD_UNDECIDED: "undecided"}[found.reason]


WORDS = observation(None, valueString="clotted")
FAILED = observation(None, dataAbsentReason={"text": "error"})
FLAGGED = observation(interpretation=[{"coding": [{"code": "HH"}]}, {"coding": [{"code": "A"}]}])
RANGED = observation(referenceRange=[{"low": {"value": 12, "unit": "g/dL"}, "high": {"value": 16, "unit": "g/dL"}}])
SEVERAL = observation(referenceRange=[{"low": {"value": 12}}, {"low": {"value": 13}}])
NO_UNIT = observation(valueQuantity={"value": 14.8})
NO_CODE = {**observation(), "code": {}}
OTHER_UNIT = observation(referenceRange=[{"low": {"value": 120, "unit": "g/L"}}])

DECIDED = [
    # a result's own words
    ("=code == '718-7' and value > 14", observation(), "held"),
    ("=code == 'HGB' and value > 14.8", observation(), "no"),
    ("=code == '6690-2' and value > 1", observation(), "no"),
    ("=value == 14.80", observation(), "held"),
    ("=unit == 'g/dL' and status == 'final'", observation(), "held"),
    ("=code == '718-7' and unit == 'mmol/L' and value > 9", NO_UNIT, "undecided"),
    ("=code == '6690-2' and unit == 'mmol/L'", NO_UNIT, "no"),
    ("=not unit", NO_UNIT, "held"),
    ("=unit == 'mmol/L'", WORDS, "no"),  # words have none
    ("=code == '2823-3' and value > 9", NO_CODE, "undecided"),
    ("=status in ['preliminary', 'final']", observation(), "held"),
    ("=value in [1, 14.8]", observation(), "held"),
    ("=text == '14.8'", observation(), "held"),
    ("=text matches '^clot'", WORDS, "held"),
    ("=not text matches '^clot'", WORDS, "no"),
    ("=value * 2 > 29.5", observation(), "held"),
    ("=(value if code == '718-7' else 0) > 10", observation(), "held"),
    # flags: none is known to be none
    ("=flags in ['HH', 'LL']", FLAGGED, "held"),
    ("=flags == 'A'", FLAGGED, "held"),
    ("=flags in ['HH', 'LL']", observation(), "no"),
    ("=flags", observation(), "no"),
    ("=flags", FLAGGED, "held"),
    # bounds
    ("=value < 20", observation("<5"), "held"),
    ("=value > 20", observation("<5"), "no"),
    ("=value < 3", observation("<5"), "undecided"),
    ("=value > 500", observation(">1000"), "held"),
    ("=value == 7", observation("<5"), "no"),
    ("=value - 1 > 3", observation("<5"), "undecided"),
    # what is not known is neither true nor false
    ("=value > 20", WORDS, "undecided"),
    ("=value < 20", WORDS, "undecided"),
    ("=not value > 20", WORDS, "undecided"),
    ("=value and value > 20", WORDS, "no"),
    ("=known(value) and value > 20", WORDS, "no"),
    ("=not known(text)", FAILED, "held"),
    ("=text == 'x'", FAILED, "undecided"),
    ("=code == 'K' and value > 20", WORDS, "no"),
    ("=code == '718-7' or value > 20", WORDS, "held"),
    ("=(value | 0) > 20", WORDS, "no"),
    ("=(value | 99) > 20", WORDS, "held"),
    ("=(value > 20) | false", WORDS, "no"),
    ("=(value > 20) | true", WORDS, "held"),
    ("=value > 20 if value > 30 else false", WORDS, "undecided"),
    ("=value > high", observation(), "undecided"),
    ("=value < low or value > high", RANGED, "no"),
    ("=value > high - 2", RANGED, "held"),
    ("=value > low", SEVERAL, "undecided"),
    ("=value > low", OTHER_UNIT, "undecided"),
    ("=value / 0 > 1", observation(), "undecided"),
    # the patient
    ("=sex == 'female' and age > 45", observation(), "no"),
    ("=sex == 'female' and age == 45 and age_days > 16000", observation(), "held"),
    # the message, with the mapping language's own sense of absent
    ("=MSH-9.1 == 'ORU' and value > 14", observation(), "held"),
    ("=PV1-2 == 'E' and value > 14", observation(), "no"),
    ("=PV1-2 != 'E' and value > 14", observation(), "held"),
    ("=MSH-9.1 == 'ORU'", observation(), "held"),
    ("=ZZZ", observation(), "no"),
]


@pytest.mark.parametrize(("text", "result", "expected"), DECIDED, ids=[f"{t} {e}" for t, _, e in DECIDED])
def test_what_a_rule_says(text: str, result: dict[str, Any], expected: str) -> None:
    assert outcome(text, result) == expected


def test_a_rule_is_asked_for_every_result_and_names_those_that_it_holds() -> None:
    results = [observation(str(n), code=f"{n}-0") for n in range(12)]
    found = ask("=value > 1", *results)

    assert found is not None
    assert (
        found.text
        == "value > 1 (2-0, HGB; 3-0, HGB; 4-0, HGB; 5-0, HGB; 6-0, HGB; 7-0, HGB; 8-0, HGB; 9-0, HGB and 2 more)"
    )
    assert ask("=value > 1", *results[:2]) is None


def test_a_rule_about_the_message_alone_holds_a_document_without_results() -> None:
    holding = rules("=PID-8 == 'F'", "=value > 1")
    found = holding.about(holding.facts(MESSAGE, results_of(bundle()))).decide(Known(), 0)

    assert found == HoldReason(reason=ReasonCode.HELD_BY_RULE, text="PID-8 == 'F'")


def test_panels_are_no_results_and_components_are() -> None:
    panel = observation(None, hasMember=[{"reference": "urn:uuid:o0"}])
    part = {"code": {"coding": [{"code": "8480-6"}]}, "valueQuantity": {"value": 190}}
    parts = observation(None, component=[part])

    assert outcome("=not known(value)", panel) == "no"
    assert outcome("=code == '8480-6' and value > 180", parts) == "held"


# -- the past --------------------------------------------------------------------------------------------------------


def test_a_change_against_the_earlier_value() -> None:
    past = Known({"718-7": "10.0"})

    assert outcome("=abs(delta('7d')) > 4.7", past=past) == "held"
    assert outcome("=abs(delta('7d')) > 4.8", past=past) == "no"
    assert outcome("=delta('7d') < -1", past=past) == "no"
    assert outcome("=delta_percent('7d') == 48", past=past) == "held"
    assert outcome("=previous('36h') == 10", past=past) == "held"
    assert set(past.within) == {7 * 24 * HOUR, 36 * HOUR}


def test_without_an_earlier_value_nothing_is_fine_by_itself() -> None:
    found = ask("=code == '718-7' and abs(delta('7d')) > 2")
    assert found is not None
    assert found.reason is ReasonCode.HOLD_UNDECIDED
    assert (
        "delta('7d'): no earlier value of this patient with this code and unit in that time (718-7, HGB)" in found.text
    )

    assert outcome("=code == 'K' and abs(delta('7d')) > 2") == "no"
    assert outcome("=(abs(delta('7d')) | 0) > 2") == "no"
    assert outcome("=previous('7d') and abs(delta('7d')) > 2") == "no"
    assert outcome("=abs(delta('7d')) > 2", observation("<5"), past=Known({"718-7": "10"})) == "undecided"
    assert outcome("=delta_percent('7d') > 2", past=Known({"718-7": "0"})) == "undecided"
    nobody = observation()
    del nobody["subject"]
    assert outcome("=abs(delta('7d')) > 2", nobody) == "undecided"


def test_a_failed_control_holds_and_an_unknown_one_is_unknown() -> None:
    assert outcome("=qc_failed('24h')", past=Known(controls={"HGB": True})) == "held"
    assert outcome("=qc_failed('24h')", past=Known(controls={"HGB": False})) == "no"
    assert outcome("=qc_failed('24h')") == "undecided"
    assert outcome("=qc_failed('24h') | false") == "no"


def test_who_releases_a_result_reads_that_no_control_was_judged_and_of_no_control_that_was() -> None:
    found = ask("=qc_failed('24h') or value > 20")
    assert found is not None
    assert "qc_failed('24h'): no control of this test was judged in that time" in found.text

    found = ask("=qc_failed('24h') or delta('7d') > 2", past=Known(controls={"HGB": False}))
    assert found is not None
    assert "no earlier value" in found.text
    assert "qc_failed('24h'): no control" not in found.text


# -- tables of limits ------------------------------------------------------------------------------------------------


@pytest.fixture
def tables(tmp_path: Path) -> tuple[Path]:
    folder = tmp_path / "mappings"
    (folder / "tables").mkdir(parents=True)
    (folder / "tables/critical.csv").write_text(
        "# ours, 2026-02\ncode,unit,low,high,note\n718-7,g/dL,7.0,20,\n2823-3,mmol/L,2.8,6.2,potassium\n5902-2,s,,30,\n"
    )
    (folder / "tables/delta.csv").write_text(
        "code,unit,change,percent,within\n718-7,g/dL,2,20,7d\n2823-3,mmol/L,1.0,,3d\n5902-2,s,,50,1d\n"
    )
    return (folder,)


@pytest.mark.parametrize(
    ("result", "expected"),
    [
        (observation("7.0"), "no"),
        (observation("6.9"), "held"),
        (observation("20.1"), "held"),
        (observation("<5"), "held"),
        (observation("<10"), "undecided"),
        (observation("69", unit="g/L"), "undecided"),
        (observation("1", code="1-1"), "no"),
        (observation("31", code="5902-2", unit="s"), "held"),
        (FAILED, "undecided"),
    ],
)
def test_critical_limits_of_the_site(tables: tuple[Path], result: dict[str, Any], expected: str) -> None:
    assert outcome("=critical('critical')", result, search=tables) == expected


OF_AGES = """code,unit,low,high,sex,from,until
2823-3,mmol/L,2.5,6.5,,,28d
2823-3,mmol/L,3.0,6.0,female,18y,
2823-3,mmol/L,2.8,6.2,male,18y,
718-7,g/dL,10,,,,28d
718-7,g/dL,7,,,,
"""
TODAY = "2026-03-01"


@pytest.mark.parametrize(
    ("code", "number", "born", "sex", "expected"),
    [
        ("2823-3", "6.4", "2026-02-02", "male", "no"),  # 27 days
        ("2823-3", "6.6", "2026-02-02", "male", "held"),
        ("2823-3", "6.4", "2026-02-01", "male", "undecided"),  # 28 days: no row is of children
        ("2823-3", "6.1", "2008-03-01", "female", "held"),  # 18 years today
        ("2823-3", "6.1", "2008-03-01", "male", "no"),
        ("2823-3", "6.1", "2008-03-02", "male", "undecided"),
        ("2823-3", "6.1", "1970-01-01", "", "undecided"),
        ("2823-3", "6.3", "1970-01-01", "", "undecided"),  # held all the same
        ("2823-3", "6.3", "1970-01-01", "other", "undecided"),
        ("2823-3", "5.0", "", "male", "undecided"),
        ("718-7", "9", "2026-02-20", "", "held"),
        ("718-7", "9", "2025-02-20", "", "no"),
        ("718-7", "11", "", "", "no"),  # whoever it is
        ("718-7", "6.9", "", "", "held"),
        ("718-7", "9", "", "", "undecided"),
        ("718-7", "9", "2026", "", "undecided"),
    ],
)
def test_critical_limits_by_age_and_sex(
    tmp_path: Path, code: str, number: str, born: str, sex: str, expected: str
) -> None:
    (tmp_path / "tables").mkdir()
    (tmp_path / "tables/critical.csv").write_text(OF_AGES)
    table = read_limits("critical", (tmp_path,), CRITICAL)
    unit = "mmol/L" if code == "2823-3" else "g/dL"
    at_us = round(datetime.fromisoformat(f"{TODAY}T08:00:00+00:00").timestamp() * 1e6)
    result = Result(
        codes=(("http://loinc.org", code),), value=Decimal(number), units=(unit,), at_us=at_us, sex=sex,
        born=born if len(born) == len(TODAY) else "",
    )  # fmt: skip
    asked = HoldContext(result=result, earlier=Known(), tests=(), now_us=at_us)
    answer = critical(table, "critical")(asked)
    assert {True: "held", False: "no", None: "undecided"}[answer] == expected
    assert bool(asked.unknown) is (expected == "undecided")


@pytest.mark.parametrize(
    ("result", "said"),
    [
        (observation("5"), "< 7.0, > 20"),
        (observation("69", unit="g/L"), ""),
        (observation("1", code="1-1"), ""),
        (observation("31", code="5902-2", unit="s"), "> 30"),
    ],
)
def test_the_critical_limits_are_said(tables: tuple[Path], result: dict[str, Any], said: str) -> None:
    (one,) = results_of(bundle(result))
    assert rules("=delta_exceeds('delta') or critical('critical')", search=tables).limits(one) == said


@pytest.mark.parametrize(
    ("result", "before", "expected"),
    [
        (observation("14.8"), "12.0", "held"),  # by 2.8 and 23 %
        (observation("14.8"), "13.0", "no"),  # by 1.8
        (observation("24.8"), "22.0", "no"),  # by 2.8, which is 13 %
        (observation("14.8"), None, "undecided"),
        (observation("4.0", code="2823-3", unit="mmol/L"), "5.1", "held"),
        (observation("14", code="5902-2", unit="s"), "8", "held"),
        (observation("14", code="5902-2", unit="s"), "10", "no"),
        (observation("1", code="1-1"), None, "no"),
    ],
)
def test_limits_of_change(tables: tuple[Path], result: dict[str, Any], before: str | None, expected: str) -> None:
    code = result["code"]["coding"][0]["code"]
    past = Known({code: before} if before else {})
    assert outcome("=delta_exceeds('delta')", result, search=tables, past=past) == expected


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("code,unit,low\n718-7,g/dL,seven\n", "tables/x.csv:2:1: low 'seven' is no decimal"),
        ("code,low\n718-7,7\n", "column 'unit' is missing"),
        ("code,unit,lo\n718-7,g/dL,7\n", "no column 'lo'; did you mean low?"),
        (
            "code,unit,low,high\n718-7,g/dL,7,\n718-7,g/dL,8,\n",
            "tables/x.csv:3:1: code and unit are here a second time",
        ),
        ("code,unit,low,high\n718-7,g/dL,9,7\n", "low is above high"),
        ("code,unit,low,sex\n718-7,g/dL,7,F\n", "sex 'F' is none; write female, male, other"),
        ("code,unit,low,until\n718-7,g/dL,7,18\n", "'18' is no age; write it in days or years, as 28d or 18y"),
        ("code,unit,low,sex\n718-7,g/dL,7,male\n718-7,g/dL,8,male\n", "are here a second time"),
        ("code,unit,low,high\n718-7,g/dL,,\n", "the row says no limit"),
        ("code,unit,low\n,g/dL,7\n", "the cell under 'code' is empty"),
        ("code,unit,low\n*,g/dL,7\n", "* means nothing"),
        ('code,unit,low\n"718-7,g/dL,7\n', "quotes do not match"),
    ],
)
def test_a_wrong_table_is_told_before_it_is_used(tmp_path: Path, content: str, problem: str) -> None:
    (tmp_path / "tables").mkdir()
    (tmp_path / "tables/x.csv").write_text(content)
    with pytest.raises(ConfigError) as raised:
        rules("=critical('x')", search=[tmp_path])
    assert any(problem in one for one in raised.value.problems), raised.value.problems


def test_a_table_that_is_no_text_is_told_by_its_name(tmp_path: Path) -> None:
    (tmp_path / "tables").mkdir()
    (tmp_path / "tables/x.csv").write_bytes("code,unit,low,high\n718-7,µg/dL,1,2\n".encode("latin-1"))
    with pytest.raises(ConfigError) as raised:
        rules("=critical('x')", search=[tmp_path])
    (problem,) = raised.value.problems
    assert problem.endswith("tables/x.csv: cannot be read as UTF-8 (UnicodeDecodeError)")


# -- what is refused when it is loaded -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "place", "problem"),
    [
        ("value > 1", "7:11", "starts with ="),
        ("=valu > 1", "7:12", "a rule knows no name 'valu'; did you mean value?"),
        ("=value >", "7:19", "a value is missing at the end"),
        ("=value > 'x'", "7:18", "one side is a number"),
        ("=value = 1", "7:18", "one = compares nothing"),
        ("=status < 'x'", "7:19", "texts have no order"),
        ("=value > OBX-5", "7:20", "about the message or about a result"),
        ("=crit('x')", "7:12", "no function crit()"),
        ("=critical('nowhere')", "7:21", "there is no table tables/nowhere.csv; make it"),
        ("=critical(value)", "7:21", "the name of a table in quotes"),
        ("=delta('7') > 1", "7:18", "expected a duration"),
        ("=delta('91d') > 1", "7:18", "remembered for 90 days"),
        ("=delta() > 1", "7:12", "takes one argument: delta(within)"),
        ("=value + 1", "7:18", "a rule is a condition"),
        ("='x'", "7:12", "a rule is a condition"),
        ("=flags in 'HH'", "7:21", "in wants a list"),
        ("=text matches '(a+)+'", "7:25", ""),
        ("=value > absent", "7:20", "nothing is absent here"),
        ("=MSH-9.1 == cx(", "7:26", "a value is missing"),
        ("=MHS-9.1 == 'ORU' and value > 1", "7:12", "MHS"),
    ],
)
def test_a_rule_that_cannot_be_right_is_refused_with_its_place(text: str, place: str, problem: str) -> None:
    with pytest.raises(ConfigError) as raised:
        rules(text)
    (found, *_) = raised.value.problems
    assert found.startswith(f"channels/lab.yaml:{place}"), found
    assert problem in found


@pytest.mark.parametrize("document", ["csv", ""])
def test_where_nothing_reads_results_rules_want_a_mapping_to_fhir(document: str) -> None:
    node = Node(kind="scalar", file="channels/lab.yaml", line=7, column=11, value="=value > 1")
    with pytest.raises(ConfigError, match="nothing reads results of json but a mapping to FHIR"):
        compile_holding([RuleText(node)], "json", document, ())
    assert compile_holding([RuleText(node)], "json", "fhir/R4", ()).rules
    assert compile_holding([RuleText(node)], "hl7v2", document, ()).rules


def test_a_rule_about_messages_of_either_format_holds_where_it_makes_sense() -> None:
    node = Node(kind="scalar", file="channels/lab.yaml", line=7, column=11, value="=MSH-9.1 == 'ORU'")
    holding = compile_holding([RuleText(node)], "auto", "", ())
    for parsed, is_held in ((MESSAGE, True), (records.parse(b"H|\\^&\rL|1\r", FormatOptions()), False)):
        assert (holding.about(holding.facts(parsed, [])).decide(Known(), 0) is not None) is is_held


# -- faults hold -----------------------------------------------------------------------------------------------------


def test_what_cannot_be_read_is_held() -> None:
    holding = rules("=value > 100")
    for body in (b"MSH|no bundle", b"[]", b'{"resourceType":"Bundle","entry":[{}]}', b"\xff"):
        reading = Reading(MESSAGE, MapContext, None)
        found = holding.about(holding.facts(MESSAGE, reading.results(Document(body=body)))).decide(Known(), 0)
        assert found is not None
        assert found.reason is ReasonCode.HOLD_FAULT
    for facts in (b"", b"{", b'{"results": [[1]]}'):
        found = holding.about(facts).decide(Known(), 0)
        assert found is not None
        assert found.reason is ReasonCode.HOLD_FAULT


def test_a_rule_that_fails_holds_and_says_where_and_never_what() -> None:
    class Broken(Known):
        def value(self, result: Result, within_us: int) -> Decimal | None:
            raise RuntimeError("Canary")

    found = ask("=delta('1d') > 1", past=Broken())
    assert found == HoldReason(reason=ReasonCode.HOLD_FAULT, text="RuntimeError in the rule channels/lab.yaml:7")


def test_a_document_of_very_many_results_is_for_a_person() -> None:
    found = ask("=value > 100", *[observation()] * 5001)
    assert found is not None
    assert found.reason is ReasonCode.HOLD_UNDECIDED


# -- values ----------------------------------------------------------------------------------------------------------

NUMBERS = st.decimals(allow_nan=False, allow_infinity=False, places=2, min_value=-50, max_value=50)
TESTS = st.sampled_from([True, False, None])


@given(
    st.sampled_from(["<", "<=", ">", ">="]),
    NUMBERS,
    st.sampled_from(["<", "<=", ">", ">=", "==", "!="]),
    NUMBERS,
    NUMBERS,
)
def test_a_bound_answers_only_what_holds_for_every_number_it_allows(
    comparator: str, bound: Decimal, operator: str, limit: Decimal, number: Decimal
) -> None:
    answer = compare(operator, Bound(comparator, bound), limit)
    if answer is not None and compare(comparator, number, bound):
        assert compare(operator, number, limit) is answer


@given(st.lists(TESTS, min_size=1, max_size=4))
def test_unknown_is_what_could_be_either(given: list[bool | None]) -> None:
    def worlds(left: list[bool | None]) -> list[list[bool]]:
        if not left:
            return [[]]
        heads = [left[0]] if left[0] is not None else [True, False]
        return [[head, *rest] for head in heads for rest in worlds(left[1:])]

    tests = [lambda one=one: one for one in given]
    for join, classic in ((both, all), (either, any)):
        answers = {classic(world) for world in worlds(given)}
        assert join(tests) is (answers.pop() if len(answers) == 1 else None)
    assert negated(None) is None


def test_no_number_is_computed_with_what_is_not_known() -> None:
    assert arithmetic("+", Decimal(1), None) is None
    assert arithmetic("-", Bound("<", Decimal(1)), Decimal(1)) is None
    assert arithmetic("/", Decimal(1), Decimal(0)) is None


@pytest.mark.parametrize(
    ("text", "dilution", "expected"),
    [
        ("=dilution > 1", "10", ReasonCode.HELD_BY_RULE),
        ("=dilution > 1", "1", None),
        ("=dilution > 1", None, ReasonCode.HOLD_UNDECIDED),
        ("=known(dilution) and dilution > 1", None, None),
    ],
)
def test_a_dilution_that_is_not_stated_is_not_known(
    text: str, dilution: str | None, expected: ReasonCode | None
) -> None:
    holding = rules(text)
    result = Result(codes=((LOINC, "718-7"),), dilution=None if dilution is None else Decimal(dilution))
    found = holding.about(holding.facts(MESSAGE, [result])).decide(Known(), 0)
    assert (found.reason if found else None) is expected


def test_results_travel_whole() -> None:
    diluted = [Result(dilution=Decimal("2.5"))]
    bodies = (bundle(FLAGGED, RANGED, observation("<5"), WORDS), bundle(FAILED, SEVERAL))
    for results in (diluted, *map(results_of, bodies)):
        assert [from_json(orjson.loads(orjson.dumps(one, default=str))) for one in results] == results
        assert isinstance(MESSAGE, Parsed)


def reference(name: str) -> dict[str, Any]:
    """A data set of `tests/golden/quality.jsonl`."""
    lines = (Path(__file__).parents[2] / "golden" / "quality.jsonl").read_text(encoding="utf-8").splitlines()
    (found,) = [one for one in map(orjson.loads, lines) if one["id"] == name]
    return found


def reference_deltas() -> Iterator[tuple[dict[str, str], Any, dict[str, str], str]]:
    """Values with the hours between, the flags, limits, window."""
    for found in map(reference, ("D01", "D02")):
        for case, said in zip(found["cases"], found["expected"], strict=True):
            yield case, said["flags"], found["limits"], found["window_hours"]


@pytest.mark.parametrize(("case", "flags", "limits", "hours"), [*reference_deltas()])
def test_changes_are_those_of_the_reference(
    case: dict[str, str], flags: Any, limits: dict[str, str], hours: str
) -> None:
    """Exactly on a limit is inside; a change from 0 has no per cent, and one in no time none a day; a value from before
    the window is not known."""
    rules = {
        "absolute": f"delta('{hours}h')",
        "percent": f"delta_percent('{hours}h')",
        "rate_per_day": f"delta('{hours}h') / days_since('{hours}h')",
    }
    near = int(case["hours"]) <= int(hours)
    past = Known({"718-7": case["previous"]} if near else {}, hours=case["hours"])
    now = observation(case["current"])
    found = {name: outcome(f"=abs({rules[name]}) > {limit}", now, past=past) for name, limit in limits.items()}
    if flags == "out of window":
        assert set(found.values()) == {"undecided"}
    else:
        assert [name for name, said in found.items() if said == "held"] == flags
        unknown = {"percent": case["previous"] == "0", "rate_per_day": case["hours"] == "0"}
        assert all((said == "undecided") == unknown.get(name, False) for name, said in found.items())


def test_reference_change_values_are_limits_in_per_cent() -> None:
    """Of the variation of the analyzer and of the person: the same both ways, and as that of a logarithm."""
    found = reference("D03")
    z, analytical, within = (Decimal(found[name]) for name in ("z", "cv_analytical", "cv_within"))
    whole = analytical * analytical + within * within
    both_ways = (2 * whole).sqrt() * z
    log = (1 + whole / 10_000).ln().sqrt() * Decimal(2).sqrt() * z
    up, down = (log.exp() - 1) * 100, ((-log).exp() - 1) * 100
    expected = found["expected"]
    limits = {"rcv_percent": both_ways, "rcv_up_percent": up, "rcv_down_percent": down}
    assert {name: f"{value:.4f}" for name, value in limits.items()} == {name: expected[name] for name in limits}
    for case, said in zip(found["cases"], expected["cases"], strict=True):
        past, now = Known({"718-7": case["previous"]}), observation(case["current"])
        change = "delta_percent('90d')"
        symmetric = outcome(f"=abs({change}) > {both_ways:.4f}", now, past=past)
        of_logarithm = outcome(f"={change} > {up:.4f} or {change} < {down:.4f}", now, past=past)
        assert (symmetric == "held", of_logarithm == "held") == (said["exceeds_symmetric"], said["exceeds_lognormal"])
