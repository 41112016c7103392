"""`to: results/1`: what a reader of facts may say, and what facts say of cultures, controls and codes without a row."""

import textwrap
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from engine.config.site import mapping_path
from engine.mapping import Program, load
from engine.mapping.compiler.documents.measures import RANGES_OF_MEASURE
from engine.model.content.facts import Facts, Measure, Order, Result, Value, unpacked
from engine.model.errors import ConfigError
from tests.support.mapping_texts import ASTM, HL7, Workshop, context, parse
from tests.support.shipped import program, reader_of

BEGIN = """\
mapping: m
format: labrelay-mapping/1
from: hl7v2/ORU_R01
to: results/1
policies: {unread_segment: ignore}
tables:
  analytes: {csv: tables/t.csv, key: [code], optional_key: [device], on_missing: local}
steps:
  - each: PATIENT_RESULT
    record: people
    body: {number: =PID-3.1}
    do:
      - each: ORDER_OBSERVATION
        record: orders
        body: {filler: =OBR-3.1}
        do:
          - each: OBSERVATION
            record: results
            body:
"""
TABLE = "code,device,loinc,display\nHGB,ONE,718-7,one\nHGB,TWO,30350-3,two\n"
NAMED = "measure: {test: =OBX-3.1, codes: \"=codes_in(coded(lookup('analytes', OBX-3.1, MSH-3.1), cwe(OBX-3)))\"}\n"


@pytest.fixture
def workshop(tmp_path: Path) -> Workshop:
    made = Workshop(tmp_path)
    made.write("tables/t.csv", TABLE)
    return made


def reader(workshop: Workshop, body: str, begin: str = BEGIN) -> Program:
    workshop.write("m.yaml", begin + textwrap.indent(textwrap.dedent(body), " " * 14))
    return load("m", [workshop.folder])


def problems(workshop: Workshop, body: str, begin: str = BEGIN) -> str:
    with pytest.raises(ConfigError) as caught:
        reader(workshop, body, begin)
    return "\n".join(caught.value.problems)


def read(made: Program, message: str, **settings: Any) -> Facts:
    parsed, ctx = parse(message), context(settings=settings)
    found = made.apply(parsed, ctx)
    trace = made.explain(parsed, ctx)
    assert trace.mapped is not None, trace.error
    assert trace.mapped.documents == found.documents
    facts = unpacked(found.documents[0].body)
    for asked in (made.facts_in(parsed, ctx), made.facts_in(parsed, ctx)):  # again, when its measures are kept
        assert (asked, hash(asked)) == (facts, hash(facts)), "what is asked in this process is what is written"
    return facts


def shipped(message: str, **settings: Any) -> Facts:
    return read(program(reader_of("hl7v2" if message.startswith("MSH") else "astm")), message, **settings)


def results(facts: Facts) -> dict[int, Result]:
    return {result.place: result for _, _, result in facts.results()}


# -- what a reader may say ---------------------------------------------------------------------------------------------


def test_members_that_no_rule_gives_are_absent(workshop: Workshop) -> None:
    (person,) = read(reader(workshop, "measure: {test: =OBX-3.1}\nvalue: {sent: =OBX-5}\n"), HL7).people
    assert (person.number, person.name) == ("4711", None)
    assert person.orders == (
        Order(
            place=1,
            filler="F1",
            results=(
                Result(1, None, Measure(test="HGB"), Value(sent="14.8")),
                Result(2, None, Measure(test="COL"), Value(sent="yellow")),
            ),
        ),
    )


WAYS = """\
measure: {test: =OBX-3.1}
value:
  $case:
    - {when: =digits(OBX-5), sent: =OBX-5, number: =digits(OBX-5)}
    - {when: =OBX-5 == 'yellow', words: =OBX-5}
"""


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("14.8", Value(sent="14.8", number="14.8")),
        ("-0.5", Value(sent="-0.5", number="-0.5")),
        ("yellow", Value(words="yellow")),
        *((one, Value()) for one in ("+14.8", "14,8", "007", "14.8 ", "1e3", ".5", "14.", "<5", "1^2", "blue")),
    ],
)
def test_a_value_is_what_the_first_way_says(workshop: Workshop, value: str, expected: Value) -> None:
    facts = read(reader(workshop, WAYS), HL7.replace("14.8", value))
    assert [one.value for one in results(facts).values()] == [expected, Value(words="yellow")]


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("colour: =OBX-5\n", "results has no member 'colour'"),
        ("place: =OBX-1\n", "results has no member 'place'"),
        ("measure: {test: =OBX-3.1, size: =OBX-5}\n", "measure has no member 'size'"),
        ("measure: =OBX-3.1\n", "measure: is a map of test, name"),
        ("kind: guess\n", "'guess' is no kind of result; it is one of answer, specimen"),
        ("measure: {flags: =OBX-8}\n", "measure.flags takes a list of texts"),
        ("measure: {test: =OBX-5}\n", "a measure is made once for many results, and OBX-5 differs from one result"),
        ("measure:\n  test: =NTE[*]-3\n", "NTE[*]-3 may differ from one result to the next"),
        ("measure:\n  test: =join(OBX[*]-3)\n", "OBX[*]-3 may differ from one result to the next"),
        ("$let: {x: =OBX-14}\nmeasure: {test: =OBX-3.1, name: =x}\n", "OBX-14 differs from one result to the next"),
        ("measure: {test: =head_of(OBX)}\n", "head_of() may give another value for each result"),
        ("$case: [{when: =OBX-2, stated: =OBX-5}]\n", "facts have a $case alone in a value; else write =a if b else c"),
        ("value: {$case: [{when: =OBX-2, $case: [{when: =OBX-3, sent: =OBX-5}]}]}\n", "facts have no $case in a $case"),
    ],
)
def test_what_cannot_be_said_is_a_problem(workshop: Workshop, body: str, said: str) -> None:
    assert said in problems(workshop, body)


@pytest.mark.parametrize(
    ("record", "said"),
    [
        ("record: results", "record: results belongs inside of a record: orders"),
        ("record: tests", "facts have no tests"),
        ("row", "row: is no part of results/1; write record: or document:"),
    ],
)
def test_a_record_stands_where_it_belongs(workshop: Workshop, record: str, said: str) -> None:
    begin = BEGIN.partition("  - each")[0]
    body = "body: {}" if record != "row" else ""
    step = f"- {record}\n  {body}\n" if body else "- row: {a: =MSH-10}\n"
    assert said in problems(workshop, "", begin + textwrap.indent(step, "  "))


def test_a_measure_knows_its_sender(workshop: Workshop) -> None:
    """One OBX of two instruments has two rows, and is told by one program."""
    made = reader(workshop, NAMED)
    for name, loinc in (("ONE", "718-7"), ("TWO", "30350-3"), ("ONE", "718-7")):
        found = results(read(made, HL7.replace("|XN|", f"|{name}|")))
        assert found[1].measure.codes == (f"http://loinc.org|{loinc}", "|HGB"), name


def test_a_code_without_a_row_is_told_of_with_each_result(workshop: Workshop) -> None:
    made = reader(workshop, NAMED)
    twice = HL7 + "OBX|3|ST|COL^Color^L||red||||||F\n"
    for message, count in ((HL7, 2), (twice, 3), (twice, 3)):
        parsed = parse(message.replace("|XN|", "|THREE|"))
        mapped = made.apply(parsed, context())
        assert len(mapped.unmapped) == count
        assert len(mapped.without_row) == count


def test_no_setting_drops_a_result_from_facts() -> None:
    for settings in ({"on_missing": "drop"}, {"on_missing": "dead"}, {"on_missing_unit": "dead"}):
        assert set(results(shipped(HL7, **settings))) == {1, 2}
        assert set(results(shipped(ASTM, **settings))) == {1, 2}


def test_a_message_without_results_has_no_facts() -> None:
    parsed = parse("\n".join(HL7.splitlines()[:3]) + "\n")
    assert program("results-hl7").apply(parsed, context()).documents == ()


# -- what facts say ----------------------------------------------------------------------------------------------------

CULTURE = """\
MSH|^~\\&|LAB|LAB|||20260301101530||ORU^R01|M1|P|2.5
PID|1||4711
OBR|1|O1|F1|CULT|||20260301091500|||||||||||||||20260301101500|||F
OBX|1|CE|ORG|1|ECOLI^Escherichia coli||||||F
OBX|2|CE|ORG|2|SAUR^S. aureus||||||F
OBX|3|ST|AMP|1|R||||||F
OBX|4|ST|AMP|2|S||||||F
OBX|5|ST|GRAM|3|cocci||||||F
OBR|2|O1|F2|SUSC|||20260301091500|||||||||||||||20260301101500|||F|ORG^2|||O1^F1
OBX|1|ST|CIP||S||||||F
"""


def test_what_belongs_to_an_isolate_names_its_place() -> None:
    found = results(shipped(CULTURE, head_codes=["ORG"]))
    assert {place: one.head for place, one in found.items()} == {1: None, 2: None, 3: 1, 4: 2, 5: None, 6: 2}
    assert {place for place, one in found.items() if one.isolate} == {1, 2}


def test_over_astm_it_is_the_head_before() -> None:
    message = ASTM.partition("R|1")[0] + "R|1|^^^ORG|E. coli\nR|2|^^^AMP|32\nO|2|S78||^^^GLU\nR|1|^^^AMP|5.5\nL|1|N\n"
    found = results(shipped(message, head_codes=["ORG"]))
    assert [(one.head, one.isolate) for one in found.values()] == [(None, True), (1, False), (None, False)]


@pytest.mark.parametrize("role", ["Q", "L", "G", "P", ""])
def test_the_result_of_a_control_or_a_pool_is_a_fact_with_its_role(role: str) -> None:
    facts = shipped(HL7 + f"SPM|1|S1||SER|||||||{role}\n")
    (order,) = facts.people[0].orders
    assert [sample.role for sample in order.samples] == [role or None]
    assert len(order.results) == 2


def test_a_message_of_controls_says_so() -> None:
    facts = shipped(HL7.replace("|M1|P|", "|M1|Q|"))
    assert facts.processing == "Q"
    assert set(results(facts)) == {1, 2}


def test_what_was_not_measured_of_a_sample_is_told_by_its_kind() -> None:
    more = (
        "OBX|3|ED|PDF^Report^L||^application^PDF^Base64^JVBERi0xLjQK||||||F\n"
        f"OBX|4|CE|FAST^Fasting^L||Y^Yes^HL70136||||||F{'|' * 18}QST\n"
    )
    found = results(shipped(HL7 + more))
    assert [found[place].kind for place in (1, 3, 4)] == [None, "document", "answer"]


def test_no_row_of_an_analyzers_codes_is_of_an_answer(workshop: Workshop) -> None:
    workshop.write("own.csv", "code,unit_in,loinc,display,type\nGLU,mg/dL,2345-7,Glucose,NM\n")
    made = load("results-hl7", [workshop.folder, *mapping_path(None)], tables={"analytes": ("own.csv",)})
    more = "".join(f"OBX|{at}|NM|GLU^Glucose^L||90|mg/dL|||||F{'|' * 18}{said}\n" for at, said in ((3, "QST"), (4, "")))
    found = results(read(made, HL7 + more))
    assert [found[place].measure.codes for place in (3, 4)] == [("|GLU",), ("http://loinc.org|2345-7", "|GLU")]


def test_of_several_samples_each_is_told() -> None:
    facts = shipped(HL7 + "SPM|1|S1||SER\nSPM|2|S2||UR\n")
    (order,) = facts.people[0].orders
    assert [sample.number for sample in order.samples] == ["S1", "S2"]


def test_a_value_that_was_withdrawn_or_failed_has_no_number() -> None:
    lines = HL7.replace("||14.8|", "||----|") + "OBX|3|NM|NA^Sodium^L||140|mmol/L|||||X\n"
    found = results(shipped(lines))
    assert (found[1].value.number, found[1].value.missing, found[1].value.sent) == (None, "error", "----")
    assert (found[3].value.number, found[3].value.missing) == (None, "not-performed")
    assert found[3].measure.state == "cancelled"


def test_each_result_has_its_own_range_and_time_though_all_are_written_alike() -> None:
    head = "MSH|^~\\&|X|L|Y|L|20260301101500||ORU^R01|1|P|2.5.1\rPID|1||P1\r"
    obx = "OBX|{}|NM|GLU^Glucose||5.1|mmol/l|{}-9|N|||F|||{}\r".format
    made, ctx = program("results-hl7"), context()
    for _ in range(2):  # what is kept of the first message is used in the second
        lines = [f"OBR|1||O1||||20260301070{order}00\r" for order in (1, 2)]
        ranges = list(range(1, RANGES_OF_MEASURE + 3))
        lines[0] += "".join(obx(n, n, "" if n % 2 else "20260301093000") for n in ranges)
        lines[1] += "".join(obx(n, n, "" if n % 2 else "20260301094500") for n in reversed(ranges))
        facts = made.facts_in(parse(head + "".join(lines)), ctx)
        assert facts is not None
        orders = facts.people[0].orders
        assert [(one.range, one.limits) for one in orders[0].results] == [(f"{n}-9", _ends(n)) for n in ranges]
        assert [one.range for one in orders[1].results] == [f"{n}-9" for n in reversed(ranges)]
        for order, minute in zip(orders, ("07:01", "07:02"), strict=True):
            assert {(one.at or "")[11:16] for one in order.results if not one.timed} == {minute}
        assert [{(one.at or "")[11:16] for one in order.results if one.timed} for order in orders] == [
            {"09:30"},
            {"09:45"},
        ]


def _ends(low: int) -> tuple[str, str] | None:
    return (str(low), "9") if low <= 9 else None  # else it ends below its start


def test_a_subject_is_named_where_hold_rules_ask_for_it() -> None:
    parsed = parse("MSH|^~\\&|X|L|Y|L|20260301101500||ORU^R01|1|P|2.5.1\rPID|1||P1\rOBR|1||O1\rOBX|1|NM|GLU||5\r")
    made, ctx = program("results-hl7"), context()
    asked, plain = made.facts_in(parsed, ctx), made.facts_in(parsed, replace(ctx, names_subjects=False))
    assert asked is not None
    assert plain is not None
    (person,), (other,) = asked.people, plain.people
    assert person.subject
    assert other == person._replace(subject=None)


# -- dilution ----------------------------------------------------------------------------------------------------------

ASTM_BEGIN = "H|\\^&|||X\nP|1||4711\nO|1|T1||^^^X\n"
TESTED = "MSH|^~\\&|X||||20260302||OUL^R22^OUL_R22|1|P|2.5.1\nPID|1||4711\nSPM|1|T1\nOBR|1|||GLU\n"


def stated(*segments: str) -> list[str | None]:
    return [one.dilution for one in results(shipped(TESTED + "\n".join(segments) + "\n")).values()]


@pytest.mark.parametrize(
    ("tcd", "expected"),
    [
        ("TCD|GLU|^1^:^1", "1"),
        ("TCD|GLU|^1^:^0", "1"),  # Roche: it was not
        ("TCD|GLU|^1^:^10", "10"),
        ("TCD|GLU||^1^:^2.5", "2.5"),
        ("TCD|GLU|||^1^:^5", "5"),
        ("TCD|GLU|^1^:^1|^1^:^10|^1^:^1", "10"),
        ("TCD|GLU|^1^:^10||^1^:^5", None),  # two of them: whether both count is not said
        ("TCD|GLU|^10", None),  # of ten, or to ten parts
        ("TCD|GLU|^2^:^5", None),
        ("TCD|GLU|>^1^:^5", None),
        ("TCD|GLU|GLU", None),
        ("TCD|GLU", None),
        ("NTE|1||x", None),
    ],
)
def test_a_dilution_is_known_where_one_ratio_says_it(tcd: str, expected: str | None) -> None:
    assert stated("OBX|1|NM|GLU||5|mmol/L|||||F", tcd) == [expected]


def test_a_dilution_is_of_the_results_of_its_run_alone() -> None:
    run = "OBX|{}|NM|{}|{}|5|mmol/L|||||F"
    ten = "TCD|GLU|^1^:^10"
    assert stated(run.format(1, "GLU", 1), run.format(2, "GLU", 1), ten) == ["10", "10"]
    assert stated(run.format(1, "GLU", 1), run.format(2, "GLU", 2), ten) == [None, "10"]
    assert stated(run.format(1, "GLU", ""), run.format(2, "GLU", ""), ten) == [None, "10"], "two runs, it may be"
    assert stated(run.format(1, "GLU", 1), run.format(2, "K", 1), ten) == [None, "10"]
    assert stated(run.format(1, "GLU", 1), ten, run.format(2, "GLU", 2)) == ["10", None]


@pytest.mark.parametrize(
    ("setting", "test", "expected"),
    [
        ("code", "^^^685/10", "10"),
        ("code", "^^^8/1/not", "1"),
        ("code", "^^^8/20/not", "20"),
        ("code", "^^^8/20/pre", None),
        ("code", "^^^685/", None),
        ("code", "^^^685", None),
        ("code", "^^^685/Dec", None),
        ("6", "^^^16^TSHX^UNDILUTED^P", "1"),
        ("6", "^^^16^TSHX^1:15^P", "15"),
        ("6", "^^^16^TSHX^HIGH^P", None),
        ("0", "^^^16^TSHX^1:15^P", None),
        ("", "^^^685/10", None),
    ],
)
def test_a_dilution_in_a_test_id_is_known_by_the_setting_of_its_maker(
    setting: str, test: str, expected: str | None
) -> None:
    message = ASTM_BEGIN + f"R|1|{test}|5|mmol/L||||F\nL|1\n"
    settings = {"dilution": setting} if setting else {}
    assert [one.dilution for one in results(shipped(message, **settings)).values()] == [expected]
