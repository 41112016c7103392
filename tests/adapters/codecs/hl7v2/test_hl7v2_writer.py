"""What is written in HL7 v2 is read back as it was, whatever stands in it."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.codecs.hl7v2 import message as hl7v2
from adapters.codecs.hl7v2.mllp import MllpLink, MllpOptions
from adapters.codecs.hl7v2.writer import (
    Content,
    Written,
    delimiters_of,
    encode,
    event_type,
    known_segments,
    number,
    numbers_itself,
    place_type,
    text_of,
)
from engine.model.errors import ContentError
from engine.model.link_events import Block
from engine.model.message import Delimiters, FormatOptions
from engine.model.texts.reasons import ReasonCode

USUAL = delimiters_of("|", "^~\\&")
HEADER: dict[int, Content] = {3: "A", 9: {1: "ORU", 2: "R01"}, 10: "1", 11: "P", 12: "2.5.1", 18: "UNICODE UTF-8"}

texts = st.text(st.characters(exclude_categories=("Cs", "Cc")), max_size=30) | st.text("|^~\\&\n\x1c\x0b\x07.brXEF09 ")


def written(fields: dict[int, Any], name: str = "OBX", delimiters: Delimiters = USUAL) -> bytes:
    segments = [Written("MSH", dict(HEADER)), Written(name, fields)]
    return encode(text_of(segments, delimiters), "UNICODE UTF-8")


def read(message: bytes) -> tuple[list[str], Delimiters]:
    parsed = hl7v2.parse(message, FormatOptions())
    return parsed.segments[1].fields, parsed.delimiters


@given(texts, st.sampled_from(["|^~\\&", "#^~\\&", "|$!/:"]), st.sampled_from(["ST", "TX"]))
def test_any_text_is_read_back(value: str, signs: str, kind: str) -> None:
    fields, delimiters = read(written({2: kind, 5: value, 6: "x"}, delimiters=delimiters_of(signs[0], signs[1:])))
    assert len(fields) == 7
    found = hl7v2.unescape(fields[5], delimiters)
    # Reading replaces control characters; a line end stays one.
    assert found == "".join("\ufffd" if ord(sign) < 0x20 and sign not in "\n\t" else sign for sign in value)


@given(st.lists(st.dictionaries(st.integers(1, 5), texts.filter(bool), min_size=1), min_size=1, max_size=3))
def test_any_components_and_repetitions_are_read_back(repetitions: list[dict[int, str]]) -> None:
    fields, delimiters = read(written({3: list(repetitions)}))
    found = hl7v2.repetitions(fields[3], delimiters)
    assert len(found) == len(repetitions)
    for raw, wanted in zip(found, repetitions, strict=True):
        parts = hl7v2.components(raw, delimiters)
        assert len(parts) == max(wanted)
        assert [bool(part) for part in parts] == [number in wanted for number in range(1, max(wanted) + 1)]


@given(texts)
def test_nothing_in_a_value_ends_a_segment_or_a_block(value: str) -> None:
    message = written({2: "ST", 5: value})
    assert message.count(b"\r") == 2
    link = MllpLink(MllpOptions())
    (block,) = link.receive(link.wrap(message), 0.0)
    assert isinstance(block, Block)
    assert block.payload == message


def test_subcomponents_stand_inside_components() -> None:
    fields, _ = read(written({3: {1: {1: "a", 3: "c"}, 4: {2: "d"}}}))
    assert fields[3] == "a&&c^^^&d"


def test_a_line_end_is_written_as_its_data_type_wants() -> None:
    assert read(written({2: "FT", 5: "a\nb"}))[0][5] == "a\\.br\\b"
    assert read(written({2: "ST", 5: "a\r\nb"}))[0][5] == "a\\X0A\\b"
    assert read(written({3: "a\nb"}, "NTE"))[0][3] == "a\\.br\\b"


def test_trailing_empty_fields_and_components_are_left_out() -> None:
    assert written({3: {1: "a", 5: ""}, 9: ""}).endswith(b"\rOBX|||a\r")


@pytest.mark.parametrize("signs", ["|^~\\", "|^^\\&", "|^~a&", "|^~.&", "||~\\&", "|^~\\&#", "\u00a6^~\\&"])
def test_delimiters_that_cannot_be_told_apart_are_refused(signs: str) -> None:
    with pytest.raises(ValueError, match=r"MSH-1|delimiters"):
        delimiters_of(signs[0], signs[1:])


@pytest.mark.parametrize(
    ("event", "version", "expected"),
    [
        ("ORU_R01", "2.5.1", ("ORU", "R01", "ORU_R01")),
        ("ADT_A08", "2.5.1", ("ADT", "A08", "ADT_A01")),
        ("ADT_A31", "2.8", ("ADT", "A31", "ADT_A05")),
        ("ADT_A40", "2.4", ("ADT", "A40", "ADT_A39")),
        ("ORU_R01", "2.3", ("ORU", "R01")),
        ("ORM_O01", "2.3.1", ("ORM", "O01", "ORM_O01")),
    ],
)
def test_the_event_names_its_structure(event: str, version: str, expected: tuple[str, ...]) -> None:
    assert event_type(event, version) == expected


def test_set_ids_begin_anew_within_what_they_count_in() -> None:
    names = "MSH PID NTE NTE ORC OBR NTE OBX NTE NTE OBX SPM OBR OBX PID OBR OBX OBX"
    segments = [Written(name) for name in names.split()]
    assert number(segments, "ORU_R01") == []
    found = [(one.name, one.fields.get(1)) for one in segments if one.name not in ("MSH", "ORC")]
    assert found == [
        ("PID", "1"),
        *(("NTE", "1"), ("NTE", "2"), ("OBR", "1"), ("NTE", "1")),
        *(("OBX", "1"), ("NTE", "1"), ("NTE", "2"), ("OBX", "2"), ("SPM", "1")),
        *(("OBR", "2"), ("OBX", "1")),
        *(("PID", "2"), ("OBR", "1"), ("OBX", "1"), ("OBX", "2")),
    ]
    assert 1 not in segments[4].fields  # ORC-1 is no set ID


def test_a_set_id_that_is_given_stays() -> None:
    segments = [Written("MSH"), Written("PID"), Written("OBR"), Written("OBX", {1: "7"})]
    number(segments, "ORU_R01")
    assert segments[3].fields[1] == "7"


def test_what_stands_where_it_does_not_belong_is_told() -> None:
    segments = [Written("MSH"), Written("PID"), Written("OBX"), Written("TXA")]
    assert {issue.code for issue in number(segments, "ORU_R01")} == {"MISPLACED_SEGMENT", "UNEXPECTED_SEGMENT"}


def test_a_character_that_the_character_set_lacks_is_refused_with_its_segment_and_never_its_value() -> None:
    text = text_of([Written("MSH", dict(HEADER)), Written("NTE", {3: "a"}), Written("NTE", {3: "आशा"})], USUAL)
    with pytest.raises(ContentError) as caught:
        encode(text, "8859/1")
    assert caught.value.reason is ReasonCode.UNKNOWN_CHARSET
    assert caught.value.place == "NTE[2]"
    assert "आ" not in str(caught.value)


@pytest.mark.parametrize("declared", ["UNICODE UTF-16", "ISO IR87", "CNS 11643-1992", "no such set"])
def test_a_character_set_in_which_framing_could_occur_is_refused(declared: str) -> None:
    with pytest.raises(ContentError, match="cannot be written"):
        encode("MSH|\r", declared)


def test_an_8_bit_character_set_is_read_back_by_its_own_declaration() -> None:
    header: dict[int, Content] = {**HEADER, 18: "8859/1"}
    message = encode(text_of([Written("MSH", header), Written("PID", {5: "Müller"})], USUAL), "8859/1")
    assert b"M\xfcller" in message
    assert read(message)[0][5] == "Müller"


def test_what_the_standard_says_of_places() -> None:
    assert place_type("PID", (3,)) == "CX"
    assert place_type("PID", (3, 4)) == "HD"
    assert place_type("PID", (3, 4, 2)) == "ST"
    assert place_type("ZZZ", (3,)) == place_type("ZZZ", (0,)) == place_type("PID", (0,)) == ""
    assert numbers_itself("OBX")
    assert not numbers_itself("ORC")
    assert {"PID", "OBX", "SPM", "NTE"} <= known_segments("ORU_R01")
    assert "EVN" in known_segments("ADT_A08")
