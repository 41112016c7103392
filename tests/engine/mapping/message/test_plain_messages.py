"""A message that is taken as plain is mapped as if each of its places had been looked at; and segments by name."""

from dataclasses import replace
from typing import Any
from unittest import mock

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adapters.codecs.astm.records import parse as parse_astm
from adapters.codecs.hl7v2.message import parse
from engine.mapping.message.code_places import is_plain
from engine.model.errors import ContentError
from engine.model.message import FormatOptions, MapContext, Parsed
from engine.model.outcome import Outcome
from engine.model.texts.reasons import ReasonCode
from tests.support.shipped import KEY, RECEIVED, program, verdict_of

NUMBERS = ["", "S1", "0S1", "000", "\u0664\u0665", "A-17", "Rao Asha", "S1^LAB", "LAB^S1", "#", "S1&2", "QC1"]
PERSONS = ["", "4711", "MR12A", "RAO", "Rao Asha", "Rao^Asha", "4711^^^H^MR~Rao", "Rao~4711", "\u00b2"]
CODES = ["GLU", "GLU^Glucose", "1^ALT", "1", "", "^Glucose", "A B", "GLU&X", "6690-2^WBC^LN"]
OBX_8 = ["", "H", "3.5-5.1", "N", "HH"]
CONTEXT = MapContext(channel="line", key=KEY, timezone="Asia/Kolkata", received_at=RECEIVED)
HOW = [{}, {"obx3": "row"}, {"no_specimen_ids": ["S1"]}, {"not_numbers": ["SPM-2"]}]
LOOKED_AT = "engine.mapping.program.is_plain"


def mostly(usual: list[str], each: list[str]) -> st.SearchStrategy[str]:
    return st.one_of(*[st.sampled_from(usual)] * 5, st.sampled_from(each))


@st.composite
def messages(draw: st.DrawFn) -> bytes:
    person, orders = draw(mostly(["4711"], PERSONS)), draw(st.integers(1, 2))
    lines = ["MSH|^~\\&|L|F|||20260301101500||ORU^R01|m1|P|2.5.1", f"PID|1||{person}||Rao^Asha||19800101|F"]
    for order in range(1, orders + 1):
        placer, filler, tube = (draw(mostly(["S1", "S2"], NUMBERS)) for _ in range(3))
        lines += [f"OBR|{order}|{placer}|{filler}|PAN^Panel|||20260301091500", f"SPM|1|{tube}||SER"]
        for row in range(1, draw(st.integers(1, 3)) + 1):
            code, beside, flag = (
                draw(mostly(["GLU"], CODES)),
                draw(st.sampled_from(["", "ALT"])),
                draw(mostly(["H"], OBX_8)),
            )
            lines.append(
                f"OBX|{row}|NM|{code}|{beside}|{row}|mmol/L||{flag}|||F"
                if flag
                else f"OBX|{row}|NM|{code}|{beside}|{row}"
            )
    return "\r".join([*lines, ""]).encode()


def outcome_of(payload: bytes, name: str, how: dict[str, Any]) -> object:
    try:
        mapped = program(name).apply(parse(payload, FormatOptions()), replace(CONTEXT, settings=how))
    except ContentError as error:
        return error.reason, error.detail
    return [document.body for document in mapped.documents], mapped.issues, mapped.facts


@settings(max_examples=300)
@given(
    messages(),
    st.sampled_from(["hl7-results", "results-hl7"]),
    st.sampled_from(HOW),
)
def test_a_plain_message_is_mapped_as_if_it_had_been_looked_at(payload: bytes, name: str, how: dict[str, Any]) -> None:
    with mock.patch(LOOKED_AT, return_value=False):
        expected = outcome_of(payload, name, how)
    assert outcome_of(payload, name, how) == expected


def test_a_usual_message_is_plain_once_its_codes_are_known() -> None:
    parsed = parse(messages_of("S1", "4711", "TSH^Thyrotropin"), FormatOptions())
    program("hl7-results").apply(parsed, CONTEXT)
    assert is_plain(parse(messages_of("S2", "4712", "TSH^Thyrotropin"), FormatOptions()), {})


@pytest.mark.parametrize(
    ("tube", "person", "code"),
    [
        ("000", "4711", "TSH^Thyrotropin"),
        ("S1", "Rao Asha", "TSH^Thyrotropin"),
        ("S1", "4711", "1^ALT"),
        ("Rao Asha", "4711", "TSH"),
    ],
)
def test_another_message_is_looked_at(tube: str, person: str, code: str) -> None:
    assert not is_plain(parse(messages_of(tube, person, code), FormatOptions()), {})


def messages_of(tube: str, person: str, code: str) -> bytes:
    lines = [
        "MSH|^~\\&|L|F|||20260301101500||ORU^R01|m1|P|2.5.1",
        f"PID|1||{person}||Rao^Asha||19800101|F",
        f"OBR|1||{tube}|PAN^Panel|||20260301091500",
        f"OBX|1|NM|{code}||4.1|mmol/L||N|||F",
    ]
    return "\r".join([*lines, ""]).encode()


@given(messages())
def test_segments_by_name_are_those_of_the_message(payload: bytes) -> None:
    assert_named(parse(payload, FormatOptions()))


def test_records_by_name_are_those_of_the_message() -> None:
    assert_named(parse_astm(b"H|\\^&\rP|1\rC|1\rO|1|S1\rR|1|^^^GLU|5\rr |2|^^^K|4\rL|1\r", FormatOptions()))


def assert_named(parsed: Parsed) -> None:
    assert sorted(one.position for same in parsed.names.values() for one in same) == [
        *range(1, len(parsed.segments) + 1)
    ]
    for segment in parsed.segments:
        assert parsed.names.get(segment.name, [])[segment.ordinal - 1] is segment


@pytest.mark.parametrize("number", ["NORMAL CONTROL", "000"])
def test_a_condition_of_a_route_empties_no_number_of_a_control(number: str) -> None:
    header, _, *others = messages_of(number, "", "717").replace(b"717||", b"717|1|").split(b"\r")  # without a PID
    verdict, _ = verdict_of(b"\r".join([header, *others]), "hl7v2", {"control_numbers": ["NORMAL CONTROL", "000"]})
    assert isinstance(verdict, Outcome)
    assert (verdict.state, verdict.reason) == ("filtered", ReasonCode.QUALITY_CONTROL)


@pytest.mark.parametrize("delimiters", ["^-\\&", "^!\\&", "^", "^~$&"])
@pytest.mark.parametrize("flag", ["3.5-5.1", "H~3-5", "3.5\\X2D\\5.1"])
def test_a_message_of_other_delimiters_says_nothing_of_the_usual_ones(delimiters: str, flag: str) -> None:
    row = f"OBX|1|NM|{delimiters.encode().hex()}K||7.1|mmol/L|HH|{flag}|||F"
    text = messages_of("S1", "4711", "K").decode()
    usual = text[: text.index("OBX")] + row + "\r"
    outcome_of(usual.replace("^~\\&", delimiters, 1).encode(), "hl7-results", {})
    with mock.patch.dict("engine.mapping.message.code_places._usual", clear=True):
        alone = outcome_of(usual.encode(), "hl7-results", {})
    assert outcome_of(usual.encode(), "hl7-results", {}) == alone


def test_a_number_that_is_first_read_as_a_controls_is_looked_at_again_as_a_patients() -> None:
    verdict, _ = verdict_of(messages_of("000", "4711", "GLU^Glucose"), "hl7v2", {"control_numbers": ["000"]})
    assert isinstance(verdict, Outcome)
    assert verdict.conflict
    assert all(b'"000"' not in document.body for document, _ in verdict.documents)


@pytest.mark.parametrize("blank", ["\t", "\u00a0", "\u3000"])
def test_a_name_with_another_blank_is_no_number_of_a_tube(blank: str) -> None:
    _, mapped = verdict_of(messages_of(f"Rao{blank}Asha", "4711", "GLU^Glucose"), "hl7v2")
    assert mapped is not None
    assert {"NO_DIGIT", "NO_SPECIMEN"} <= {issue.code for issue in mapped.issues}


def test_a_long_unit_is_not_kept() -> None:
    reader = program("hl7-results")
    parsed = parse(messages_of("S1", "4711", "GLU").replace(b"mmol/L", b"u" * 5000), FormatOptions())
    reader.apply(parsed, CONTEXT)
    reading = reader._readings.of(parsed, CONTEXT)
    assert max((len(unit or "") for _, unit, _ in reading.units), default=0) < 5000
