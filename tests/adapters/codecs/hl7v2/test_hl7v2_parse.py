"""Reading a whole message: segments, fields, tolerated line ends, and errors that name the line."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.codecs.hl7v2.message import parse
from engine.model.errors import ContentError
from engine.model.message import FormatOptions, Group
from engine.model.texts.reasons import ReasonCode

DEFAULT = FormatOptions()
JOIN = FormatOptions(fixes=frozenset({"unescaped_newlines"}))
HEAD = "MSH|^~\\&|XN|LAB|||20260301||ORU^R01^ORU_R01|CTL1|P|2.5"


def message(*lines: str, eol: str = "\r", head: str = HEAD) -> bytes:
    return (eol.join((head, *lines)) + eol).encode()


def test_fields_are_numbered_as_the_standard_does_and_stay_escaped() -> None:
    parsed = parse(message("PID|1||7^^^HOSP~8||A\\T\\B^C"), DEFAULT)
    head, pid = parsed.segments
    assert head.fields[:4] == ["MSH", "|", "^~\\&", "XN"]
    assert head.fields[10] == "CTL1"
    assert pid.fields == ["PID", "1", "", "7^^^HOSP~8", "", "A\\T\\B^C"]
    assert (parsed.format, parsed.structure, parsed.message_type) == ("hl7v2", "ORU_R01", "ORU^R01")
    assert (parsed.control_id, parsed.charset, parsed.warnings) == ("CTL1", "utf-8", [])


def test_positions_and_ordinals() -> None:
    parsed = parse(message("PID|1", "OBR|1", "OBX|1", "OBX|2", "NTE|1", "OBX|3"), DEFAULT)
    assert [(s.name, s.position, s.ordinal) for s in parsed.segments][3:] == [
        ("OBX", 4, 1),
        ("OBX", 5, 2),
        ("NTE", 6, 1),
        ("OBX", 7, 3),
    ]


@pytest.mark.parametrize("eol", ["\r", "\n", "\r\n", "\r\r", "\n\r\n", "\r  \r", "\r\x00\r"])
def test_line_ends_and_empty_lines(eol: str) -> None:
    parsed = parse(message("PID|1||7", "OBR|1", eol=eol), DEFAULT)
    assert [segment.fields for segment in parsed.segments[1:]] == [["PID", "1", "", "7"], ["OBR", "1"]]


@pytest.mark.parametrize("end", [b"", b"\r", b"\r   ", b"\x00", b"\r\x1a", b"\r\r\n\x00"])
def test_what_may_follow_the_last_segment(end: bytes) -> None:
    parsed = parse(message("OBR|1|A").rstrip(b"\r") + end, DEFAULT)
    assert parsed.segments[-1].fields == ["OBR", "1", "A"]
    assert parsed.warnings == []


def test_names_alone_and_names_of_their_own() -> None:
    parsed = parse(message("PID", "Z01|x", "NTE|1", "X1Y|"), DEFAULT)
    assert [segment.name for segment in parsed.segments] == ["MSH", "PID", "Z01", "NTE", "X1Y"]


def test_line_and_page_separators_of_unicode_end_no_segment() -> None:
    text = "a\u2028b\u0085c\x0b"
    parsed = parse(message(f"NTE|1||{text}"), DEFAULT)
    assert parsed.segments[1].fields[3] == "a\u2028b\u0085c\ufffd"


def test_control_characters_are_replaced_with_one_warning() -> None:
    parsed = parse(message("NTE|1||a\x00b\x1bc\td", "NTE|2||\x01"), DEFAULT)
    assert parsed.segments[1].fields[3] == "a\ufffdb\ufffdc\td"
    assert [issue.code for issue in parsed.warnings] == ["CONTROL_CHARACTER"]


@pytest.mark.parametrize(
    ("sent", "charset", "warned"),
    [
        (r"\Xb5\mol/L", "utf-8", ["UNREAD_ESCAPE"]),
        (r"\XB5\mol/L", "cp1252", []),
        (r"\XC2B5\mol/L", "utf-8", []),
        (r"a\X0D\b \XZZ\ C:\Xenon\E\1", "utf-8", []),
        (r"Cr\XE9\at", "ascii", ["UNREAD_ESCAPE"]),
    ],
)
def test_an_escape_that_no_character_set_has_is_told(sent: str, charset: str, warned: list[str]) -> None:
    parsed = parse(message(f"NTE|1||{sent}"), FormatOptions(charsets=(charset,)))
    assert [issue.code for issue in parsed.warnings] == warned
    assert parsed.segments[1].fields[3] == sent


def test_a_line_that_starts_no_segment_is_an_error_that_names_it() -> None:
    with pytest.raises(ContentError) as caught:
        parse(message("PID|1||7", "NTE|1||Jane said", "goodbye|F"), DEFAULT)
    assert caught.value.reason is ReasonCode.UNREADABLE
    assert "line 4" in caught.value.detail
    assert "goodbye" not in str(caught.value)


def test_the_fix_joins_such_a_line_to_the_field_before() -> None:
    parsed = parse(message("OBR|1", "OBX|1|TX|A||one", "two", "HIV", "three||N|F", "NTE|1"), JOIN)
    assert parsed.segments[2].fields == ["OBX", "1", "TX", "A", "", "one\ntwo\nHIV\nthree", "", "N", "F"]
    assert parsed.segments[3].name == "NTE"
    assert {(issue.code, issue.place) for issue in parsed.warnings} == {("UNESCAPED_NEWLINE", "OBX[1]")}


def test_blanks_before_a_segment_name_are_a_warning() -> None:
    parsed = parse(message("  PID|1||7"), DEFAULT)
    assert parsed.segments[1].fields == ["PID", "1", "", "7"]
    assert [issue.code for issue in parsed.warnings] == ["LEADING_BLANKS"]


@pytest.mark.parametrize(
    ("payload", "place"),
    [
        (b"", ""),
        (b"garbage", ""),
        (b"FHS|^~\\&\r" + message(), ""),
        (message(head=HEAD.replace("^~\\&", "&&&&")), "MSH-2"),
        (message(head=HEAD.replace("CTL1", "")), "MSH-10"),
        (message("PID|1") + message(), ""),
    ],
)
def test_what_cannot_be_read(payload: bytes, place: str) -> None:
    with pytest.raises(ContentError) as caught:
        parse(payload, DEFAULT)
    assert caught.value.reason is ReasonCode.UNREADABLE
    assert caught.value.place == place


def test_delimiters_of_the_message() -> None:
    payload = b"MSH^~|\\&^A^B^^^20260301^^ORU~R01^9^P^2.5\rOBR^1\rOBX^1^CE^X~Y\r"
    parsed = parse(payload, DEFAULT)
    assert parsed.structure == "ORU_R01"
    assert parsed.segments[0].fields[1:3] == ["^", "~|\\&"]
    assert parsed.segments[2].fields[3] == "X~Y"


def test_where_obx_after_spm_goes_is_the_channels_choice() -> None:
    payload = message("PID|1", "OBR|1", "SPM|1", "OBX|1|NM|A||1")
    for choice, results in (("result", 1), ("specimen", 0)):
        root = parse(payload, FormatOptions(spm_obx=choice)).root
        order = root.groups["PATIENT_RESULT"][0].groups["ORDER_OBSERVATION"][0]
        assert len(order.groups.get("OBSERVATION", [])) == results


def count(group: Group) -> int:
    return sum(map(len, group.segments.values())) + sum(count(g) for gs in group.groups.values() for g in gs)


pieces = st.sampled_from(
    [
        HEAD.encode(),
        b"\r",
        b"\n",
        b"PID|1",
        b"OBR|1",
        b"OBX|1|NM|A||1",
        b"SPM",
        b"MSH|^~\\&|",
        b"||||",
        b"\\",
        b"\x00",
        b"\xff\xfe",
        b"x",
        b"\xc3",
        b"8859/1",
        b"Z99|",
        b"BTS|1",
    ]
)


@given(
    st.binary(max_size=200) | st.lists(pieces, max_size=25).map(lambda parts: HEAD.encode() + b"".join(parts)),
    st.sampled_from([DEFAULT, JOIN, FormatOptions(charsets=("latin-1",), spm_obx="specimen")]),
)
def test_any_bytes_are_read_or_refused_and_no_segment_is_lost(payload: bytes, options: FormatOptions) -> None:
    try:
        parsed = parse(payload, options)
    except ContentError:
        return
    assert parsed.segments[0].name == "MSH"
    assert [segment.position for segment in parsed.segments] == list(range(1, len(parsed.segments) + 1))
    assert count(parsed.root) == len(parsed.segments)


fields = st.text(st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="|"), max_size=8)


@given(
    st.lists(st.tuples(st.sampled_from(["PID", "OBR", "OBX", "NTE", "ZZ1"]), st.lists(fields, max_size=6)), max_size=12)
)
def test_fields_come_out_as_they_went_in(segments: list[tuple[str, list[str]]]) -> None:
    payload = message(*("|".join([name, *values]) for name, values in segments))
    parsed = parse(payload, DEFAULT)
    assert [segment.fields for segment in parsed.segments[1:]] == [[name, *values] for name, values in segments]
