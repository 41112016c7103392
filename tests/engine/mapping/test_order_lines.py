"""Mappings with `to: orders`: what a line may hold, and what a document of lines gives back."""

import textwrap
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.mapping import Program, load
from engine.mapping.outputs.collected import FIELDS, decode, encode, order_lines
from engine.model.errors import ConfigError, ContentError
from engine.model.orders import MOST_LINES, SPECIMEN_LENGTH, OrderedPatient, OrderLine
from engine.model.texts.reasons import ReasonCode
from tests.support.mapping_texts import Workshop, context, parse

ORDER = """\
MSH|^~\\&|HIS|HOSP|||20260301101530||ORM^O01|M1|P|2.3.1
PID|1||0007^^^HOSP||Rao^Asha
ORC|NW|P1
OBR|1|P1|S1|GLU^Glucose^L
OBX|1|NM|HGB||14.8|g/dL|||||F
"""


@pytest.fixture
def workshop(tmp_path: Path) -> Workshop:
    return Workshop(tmp_path)


def program(workshop: Workshop, line: str, *, source: str = "hl7v2/ORM_O01") -> Program:
    begin = (
        f"mapping: m\nformat: labrelay-mapping/1\nfrom: {source}\nto: orders\npolicies: {{unread_segment: ignore}}\n"
    )
    step = "- each: PATIENT\n  do:\n    - each: ORDER\n      line:\n"
    workshop.write("m.yaml", f"{begin}steps:\n{step}{textwrap.indent(textwrap.dedent(line), ' ' * 8)}")
    return load("m", [workshop.folder])


def problems(workshop: Workshop, line: str) -> str:
    with pytest.raises(ConfigError) as caught:
        program(workshop, line)
    return "\n".join(caught.value.problems)


def lines(made: Program, message: str = ORDER, **settings: Any) -> tuple[OrderLine, ...]:
    parsed, ctx = parse(message), context(settings=settings)
    found = made.apply(parsed, ctx)
    trace = made.explain(parsed, ctx)
    assert trace.mapped is not None, trace.error
    assert trace.mapped.documents == found.documents
    return order_lines(found)


NEEDED = "action: new\ntest: =OBR-4.1\nspecimen: =OBR-3.1\n"


def test_a_line_has_what_its_rules_say_and_is_otherwise_empty(workshop: Workshop) -> None:
    made = program(
        workshop, NEEDED + "placer: =ORC-2.1\npatient: {number: =PID-3, family: =PID-5.1}\ntargets: [one, =PID-5.2]\n"
    )
    expected = OrderLine(
        placer="P1",
        specimen="S1",
        patient=OrderedPatient(number="0007", family="Rao"),
        test="GLU",
        targets=("one", "Asha"),
    )
    assert lines(made) == (expected,)


def test_an_observation_in_an_order_is_no_result(workshop: Workshop) -> None:
    found = program(workshop, NEEDED).apply(parse(ORDER), context())
    assert (found.counts, found.issues) == ({"results_in": 0, "observations": 0}, ())


def test_an_action_that_is_absent_is_unknown_and_never_new(workshop: Workshop) -> None:
    made = program(workshop, "action: =ORC-5\ntest: =OBR-4.1\nspecimen: =OBR-3.1\n")
    assert [line.action for line in lines(made)] == ["unknown"]


@pytest.mark.parametrize(("field", "rule"), [("action", "=ORC-1"), ("priority", "=ORC-1")])
def test_a_word_that_is_none_makes_the_message_dead_and_names_the_field(
    workshop: Workshop, field: str, rule: str
) -> None:
    made = program(workshop, "".join(f"{name}: {text}\n" for name, text in ({
        "action": "new", "test": "=OBR-4.1", "specimen": "=OBR-3.1"} | {field: rule}).items()))  # fmt: skip
    with pytest.raises(ContentError) as caught:
        made.apply(parse(ORDER), context())
    assert (caught.value.reason, caught.value.place) == (ReasonCode.BAD_VALUE, f"lines[0].{field}")
    assert "NW" not in str(caught.value)


def test_a_number_that_no_tube_has_room_for_is_none(workshop: Workshop) -> None:
    made = program(workshop, NEEDED)
    longest = ORDER.replace("|S1|", f"|{'9' * SPECIMEN_LENGTH}|")
    assert lines(made, longest)[0].specimen == "9" * SPECIMEN_LENGTH
    longer = ORDER.replace("|S1|", f"|{'9' * (SPECIMEN_LENGTH + 1)}|")
    assert lines(made, longer)[0].specimen == ""
    assert [issue.code for issue in made.apply(parse(longer), context()).issues] == ["SPECIMEN_NUMBER"]


def test_a_message_with_too_many_lines_is_dead(workshop: Workshop) -> None:
    made = program(workshop, NEEDED)
    most = ORDER + "ORC|NW|P1\nOBR|1|P1|S1|GLU\n" * (MOST_LINES - 1)
    assert len(lines(made, most)) == MOST_LINES
    with pytest.raises(ContentError) as caught:
        made.apply(parse(most + "ORC|NW|P1\nOBR|1|P1|S1|GLU\n"), context())
    assert caught.value.reason is ReasonCode.TOO_LARGE


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (NEEDED + "speciman_type: =OBR-15\n", "line has no field 'speciman_type'; did you mean specimen_type?"),
        (NEEDED + "patient: {id: =PID-3}\n", "line.patient has no field 'id'"),
        (NEEDED + "patient: =PID-3\n", "patient: is a map of number"),
        (NEEDED + "priority: urgent\n", "'urgent' is no priority"),
        (NEEDED + "placer: {id: =ORC-2}\n", "placer: is one text"),
        (NEEDED + "targets: {id: =ORC-2}\n", "targets: is a list of names of channels"),
        (NEEDED + "comment: =NTE[*]-3\n", "line.comment takes one text"),
        (NEEDED + "comment: ORC-2\n", "looks like an expression"),
        ("test: =OBR-4.1\nspecimen: =OBR-3.1\n", "line: lacks action:"),
        ("action: new\nspecimen: =OBR-3.1\n", "line: lacks test:"),
        ("action: new\ntest: =OBR-4.1\n", "line: lacks specimen:"),
    ],
)
def test_a_mistake_is_named_with_file_and_line(workshop: Workshop, line: str, said: str) -> None:
    found = problems(workshop, line)
    assert said in found
    assert found.startswith("m.yaml:")


def test_other_steps_and_other_outputs_are_refused(workshop: Workshop) -> None:
    head = "mapping: m\nformat: labrelay-mapping/1\nfrom: hl7v2/ORM_O01\n"
    workshop.write("m.yaml", f"{head}to: orders\nsteps:\n  - row: {{a: b}}\n")
    with pytest.raises(ConfigError, match="row: is no part of orders; write line:"):
        load("m", [workshop.folder])
    workshop.write("m.yaml", f"{head}to: csv\nsteps:\n  - line: {{action: new}}\n")
    with pytest.raises(ConfigError, match="line: is no part of csv; write row:"):
        load("m", [workshop.folder])


TEXTS = st.text(st.characters(codec="utf-8"), max_size=20)


@given(
    st.builds(
        OrderLine,
        **{name: TEXTS for name in FIELDS if name not in ("action", "priority", "patient", "targets")},
        action=st.sampled_from(["new", "cancel", "unknown"]),
        priority=st.sampled_from(["stat", "routine"]),
        patient=st.builds(OrderedPatient, number=TEXTS, family=TEXTS, sex=TEXTS),
        targets=st.lists(TEXTS).map(tuple),
    )
)
def test_a_document_gives_back_its_lines(line: OrderLine) -> None:
    assert decode(encode([line, OrderLine()])) == (line, OrderLine())
