"""E1394 messages: what becomes of their records, and what is tolerated or refused on the way."""

import contextlib
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.codecs.astm import records as astm_records
from adapters.codecs.astm import records as fields
from engine.model.errors import ContentError
from engine.model.message import Delimiters, FormatOptions, Group, Header, Parsed
from engine.model.tables import table_lines
from engine.model.texts.reasons import ReasonCode

H = "H|\\^&|77||Demo^1.0|||||||P|LIS2-A2|20260301101530"


def parsed(*records: str, end: str = "\r", charset: str = "utf-8") -> Parsed:
    return astm_records.parse((end.join(records) + end).encode(charset), FormatOptions())


def outline(group: Group) -> str:
    """The tree in one line: ``PATIENT(P ORDER(O RESULT(R C)))``."""
    own = [name for name, found in group.segments.items() for _ in found]
    inner = [f"{child.name}({outline(child)})" for children in group.groups.values() for child in children]
    return " ".join(own + inner)


def warned(message: Parsed) -> list[str]:
    return [issue.code for issue in message.warnings]


def refused(payload: bytes, options: FormatOptions | None = None) -> ContentError:
    with pytest.raises(ContentError) as caught:
        astm_records.parse(payload, options or FormatOptions())
    return caught.value


# -- the tree ----------------------------------------------------------------------------------------------------


def test_records_hang_below_their_parents_and_comments_beside_the_record_before_them() -> None:
    first = ["P|1", "C|1|L|on P", "O|1|S1", "M|1|LOT", "R|1|^^^GLU|5.4", "C|1|I|on R", "S|1", "R|2|^^^CRP|9"]
    message = parsed(H, "C|1|I|on H", *first, "O|2|S2", "R|1|^^^NA|140", "P|2", "O|1|S3", "L|1|N")
    assert outline(message.root) == (
        "H C L PATIENT(P C ORDER(O M RESULT(R C S) RESULT(R)) ORDER(O RESULT(R))) PATIENT(P ORDER(O))"
    )
    assert message.warnings == []


@pytest.mark.parametrize(
    ("records", "tree"),
    [
        (["O|1|S1", "R|1"], "PATIENT(ORDER(O RESULT(R)))"),
        (["P|1", "R|1"], "PATIENT(P ORDER(RESULT(R)))"),
        (["R|1", "R|2"], "PATIENT(ORDER(RESULT(R) RESULT(R)))"),
        (["P|1", "O|1", "R|1", "P|2", "R|1"], "PATIENT(P ORDER(O RESULT(R))) PATIENT(P ORDER(RESULT(R)))"),
    ],
)
def test_a_missing_patient_or_order_leaves_a_group_without_its_record(records: list[str], tree: str) -> None:
    assert outline(parsed(H, *records, "L|1|N").root) == f"H L {tree}"


def test_a_query_stands_at_the_root_and_so_does_its_comment() -> None:
    message = parsed(H, "Q|1|^S1||ALL", "C|1|L|urgent", "L|1|N")
    assert outline(message.root) == "H Q C L"
    assert message.message_type == "Q"


def test_several_headers_before_one_terminator_close_the_groups_that_are_open() -> None:
    message = parsed(H, "P|1", "O|1|S1", "R|1", H, "O|1|S2", "R|1", "L|1|N")
    assert outline(message.root) == "H H L PATIENT(P ORDER(O RESULT(R))) PATIENT(ORDER(O RESULT(R)))"
    assert warned(message) == ["several-headers"]


def test_fields_are_numbered_as_the_standard_does() -> None:
    message = parsed(H, "P|1", "R|1|^^^GLU|5.4|mmol/L", "L|1|N")
    header, _, result, _ = message.segments
    assert (header.fields[1], header.fields[2], header.fields[5]) == ("H", "\\^&", "Demo^1.0")
    assert (result.fields[0], result.fields[3], result.fields[4], result.fields[5]) == ("R", "^^^GLU", "5.4", "mmol/L")
    assert (result.position, result.ordinal) == (3, 1)
    assert (message.control_id, message.structure, message.format) == ("77", "E1394", "astm")


def test_positions_count_all_records_and_ordinals_those_of_one_type() -> None:
    message = parsed(H, "P|5", "R|1", "C|1", "R|2", "C|1", "L|1")
    assert [(s.name, s.position, s.ordinal) for s in message.segments][2:] == [
        ("R", 3, 1),
        ("C", 4, 1),
        ("R", 5, 2),
        ("C", 6, 2),
        ("L", 7, 1),
    ]


def test_values_keep_their_escapes_and_blanks() -> None:
    message = parsed(H, "O|1|DB&E&23|  A 1  ", "R|1||  5.5  ", "L|1|N")
    assert message.segments[1].fields[3:5] == ["DB&E&23", "  A 1  "]
    assert message.segments[2].fields[4] == "  5.5  "


# -- delimiters --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("header", "delimiters"),
    [
        ("H|\\^&", Delimiters("|", "^", "\\", "&", "")),
        ("H|`^&|||x", Delimiters("|", "^", "`", "&", "")),
        ("H|@^\\|x", Delimiters("|", "^", "@", "\\", "")),
        ("H|\\\\^&|x", Delimiters("|", "^", "\\", "&", "")),  # doubled by a generator
        ("H|\\^|x", Delimiters("|", "^", "\\", "", "")),
        ("H;!*%;;x", Delimiters(";", "*", "!", "%", "")),
    ],
)
def test_delimiters_are_those_that_the_header_declares(header: str, delimiters: Delimiters) -> None:
    assert parsed(header, f"L{delimiters.field}1{delimiters.field}N").delimiters == delimiters


@pytest.mark.parametrize("header", ["H|||||", "H|", "H", "HX\\^&", "H|^^|", "H|^|", "H|ab^&", "H\r"])
def test_delimiters_that_cannot_be_told_apart_make_the_message_unreadable(header: str) -> None:
    assert refused(header.encode() + b"\rR|1|^^^GLU|5\rL|1|N\r").reason is ReasonCode.UNREADABLE
    assert astm_records.header(header.encode()).problem


def test_headers_that_contradict_each_other_are_refused() -> None:
    error = refused(b"H|\\^&\rP|1\rH;\\^&\rP;1\rL;1;N\r")
    assert (error.reason, error.place) == (ReasonCode.UNREADABLE, "H-2")


def test_a_second_header_without_delimiters_goes_by_the_first() -> None:
    message = parsed("H|\\^&|1", "P|1", "H|||", "P|2", "L|1|N")
    assert [segment.name for segment in message.segments] == ["H", "P", "H", "P", "L"]


# -- record ends and other noise ---------------------------------------------------------------------------------

RECORDS = (H, "P|1", "O|1|S1", "R|1|^^^GLU|5.4", "L|1|N")


@pytest.mark.parametrize("end", ["\r", "\n", "\r\n", "\r\r", "\n\n", "\r\n\r\n", "\r \r", "\0\r", "\r\0"])
def test_any_record_end_gives_the_same_records(end: str) -> None:
    message = parsed(*RECORDS, end=end)
    assert [s.fields[1:] for s in message.segments] == [r.split("|") for r in RECORDS]


def test_the_last_record_end_may_be_missing() -> None:
    message = astm_records.parse("\r".join(RECORDS).encode(), FormatOptions())
    assert [s.name for s in message.segments] == ["H", "P", "O", "R", "L"]


def test_type_letters_may_be_small() -> None:
    message = parsed("h|\\^&", "p|1", "o|1", "r|1|^^^GLU|5", "l|1|n")
    assert outline(message.root) == "H L PATIENT(P ORDER(O RESULT(R)))"
    assert astm_records.header(b"h|\\^&\rr|1\r").message_type == "R"


def test_lines_that_begin_with_a_hash_are_left_out_with_a_warning() -> None:
    message = parsed("# sample", H, "# more", "P|1", "L|1|N", end="\n")
    assert [s.name for s in message.segments] == ["H", "P", "L"]
    assert warned(message) == ["comment-line"]


def test_a_record_type_that_nobody_knows_is_kept_where_it_stood() -> None:
    message = parsed(H, "P|1", "O|1", "X|1|a", "R|1", "ZZ1|b", "L|1|N")
    assert outline(message.root) == "H L PATIENT(P ORDER(O X RESULT(R ZZ1)))"
    assert [(i.code, i.place) for i in message.warnings] == [("unknown-record", "X[1]"), ("unknown-record", "ZZ1[1]")]


def test_a_line_that_cannot_be_a_record_is_left_out_with_a_warning() -> None:
    message = parsed(H, "P|1", "\ufffd~~~", "L|1|N", "\x01\x02")
    assert [s.name for s in message.segments] == ["H", "P", "L"]
    assert warned(message) == ["control-character", "garbage", "garbage"]


@pytest.mark.parametrize("damaged", ["\ufffd|2|^^^GLU|5.4", "|2|^^^GLU|5.4", "%R|2|^^^GLU"])
def test_a_record_that_lost_its_letter_makes_the_message_unreadable(damaged: str) -> None:
    # Left out, the report would go on without one of its results.
    error = refused("\r".join([H, "P|1", "R|1|^^^NA|140", damaged, "L|1|N"]).encode())
    assert (error.reason, error.place) == (ReasonCode.UNREADABLE, "after record 3")


def test_a_line_feed_typed_into_a_comment_stays_in_it() -> None:
    message = parsed(H, "R|1|^^^GLU|5.4", "C|1|I|first line\nsecond line|G", "L|1|N")
    assert message.segments[2].fields[4:6] == ["first line\nsecond line", "G"]
    assert warned(message) == ["line-feed"]


def test_a_line_feed_that_ends_a_record_among_carriage_returns_is_seen() -> None:
    message = astm_records.parse(b"H|\\^&\rR|1|^^^NA|140\nR|2|^^^K|4\nL|1|N\r", FormatOptions())
    assert [s.name for s in message.segments] == ["H", "R", "R", "L"]


def test_nul_that_pads_is_removed_and_nul_inside_a_value_never_joins_its_digits() -> None:
    message = parsed(H, "\0R|1|^^^GLU\0\0|5.4\0|mg/dL\0", "R|2|^^^NA|1\0002|mmol/L", "L|1|N")
    assert message.segments[1].fields[3:6] == ["^^^GLU", "5.4", "mg/dL"]
    assert message.segments[2].fields[4] == "1\ufffd2"
    assert warned(message) == ["nul"]


@pytest.mark.parametrize(
    "payload", [b"", b"\r\n \0", b"# only a comment\r", b"MSH|^~\\&|x\r", b"P|1\rL|1\r", b"\xff\x00\x80"]
)
def test_what_does_not_begin_with_a_header_is_unreadable(payload: bytes) -> None:
    assert refused(payload).reason is ReasonCode.UNREADABLE
    assert astm_records.header(payload).problem


# -- the terminator ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("code", ["T", "R", "E", "t", " E "])
def test_a_message_that_its_sender_marked_as_broken_off_is_refused(code: str) -> None:
    error = refused("\r".join([H, "P|1", "R|1|^^^GLU|5.4", f"L|1|{code}"]).encode())
    assert (error.reason, error.place) == (ReasonCode.SENDER_ABORTED, "L[1]-3")


@pytest.mark.parametrize("terminator", ["L", "L|1", "L|1|", "L|1|N", "L|1|F", "L|1|I", "L|1|Q|more"])
def test_other_terminators_end_a_message_that_counts(terminator: str) -> None:
    assert parsed(H, "R|1|^^^GLU|5.4", terminator).warnings == []


def test_a_message_without_terminator_is_read_with_a_warning() -> None:
    # Whether it is whole is the link's to say (`end: eot`), and files of records may have none.
    assert warned(parsed(H, "R|1|^^^GLU|5.4")) == ["no-terminator"]


def test_a_record_after_the_terminator_is_kept_with_a_warning() -> None:
    message = parsed(H, "R|1|^^^GLU|5.4", "L|1|N", "C|1|I|late")
    assert outline(message.root) == "H L C PATIENT(ORDER(RESULT(R)))"
    assert warned(message) == ["after-terminator"]


# -- characters --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "charsets", "text", "charset", "warning"),
    [
        ("Jürgen".encode(), ("utf-8",), "Jürgen", "utf-8", False),
        ("Jürgen".encode("latin-1"), ("utf-8",), "Jürgen", "cp1252", True),
        ("µ€".encode("cp1252"), ("utf-8",), "µ€", "cp1252", True),
        (b"\x81", ("utf-8",), "\x81", "latin-1", True),
        ("Иван".encode("cp1251"), ("cp1251",), "Иван", "cp1251", False),
        ("Иван".encode(), ("ascii",), "Иван", "utf-8", True),
        ("Jürgen".encode(), ("latin-1",), "JÃ¼rgen", "latin-1", False),  # the channel's word counts first
        ("山田".encode("shift_jis"), ("utf-8", "shift_jis"), "山田", "shift_jis", False),
    ],
)
def test_the_channels_charsets_come_first_and_in_order(
    data: bytes, charsets: tuple[str, ...], text: str, charset: str, warning: bool
) -> None:
    message = astm_records.parse(b"H|\\^&\rP|1||||" + data + b"\rL|1|N\r", FormatOptions(charsets=charsets))
    assert (message.segments[1].fields[6], message.charset) == (text, charset)
    assert ("charset" in warned(message)) is warning


@pytest.mark.parametrize("charset", ["klingon-8", "rot13", "a\0b"])
def test_a_charset_that_does_not_exist_is_named(charset: str) -> None:
    error = refused(b"H|\\^&\rL|1|N\r", FormatOptions(charsets=(charset,)))
    assert error.reason is ReasonCode.UNKNOWN_CHARSET


def test_a_byte_order_mark_is_no_garbage() -> None:
    payload = b"\xef\xbb\xbfH|\\^&|9\rL|1|N\r"
    assert astm_records.parse(payload, FormatOptions()).control_id == "9"
    assert astm_records.header(payload).control_id == "9"


# -- taking a field apart ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("escaped", "plain"),
    [
        ("DB&E&23-33E22", "DB&23-33E22"),
        ("a&F&b&S&c&R&d", "a|b^c\\d"),
        ("&X41&&X4243&", "ABC"),
        ("&XC3A9&", "é"),
        ("&XE9&", "é"),
        ("&H&bold&N&", "bold"),
        ("&Z7&", "&Z7&"),
        ("Smith & Sons", "Smith & Sons"),
        ("&&", "&&"),
        ("&E&F&", "&F&"),  # once: what an escape makes is not read again
        ("&X0D0A&", "\n"),
        ("a&X1B&b", "a\ufffdb"),
        ("&X4&", "&X4&"),
        ("&", "&"),
        ("", ""),
    ],
)
def test_escapes_are_replaced_once(escaped: str, plain: str) -> None:
    assert astm_records.unescape(escaped, Delimiters("|", "^", "\\", "&", "")) == plain


def test_escapes_follow_the_declared_delimiters() -> None:
    genexpert = Delimiters("|", "^", "@", "\\", "")
    assert astm_records.unescape("a\\R\\b\\S\\c & d", genexpert) == "a@b^c & d"
    assert astm_records.unescape("a&R&b", Delimiters("|", "^", "@", "", "")) == "a&R&b"


def test_repetitions_and_components_follow_the_declared_delimiters() -> None:
    erba = Delimiters("|", "^", "`", "&", "")
    assert astm_records.repetitions("^406`001", erba) == ["^406", "001"]
    assert astm_records.components("^406", erba) == ["", "406"]
    assert astm_records.repetitions("", erba) == [""]


# -- header and split --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("records", "kind"),
    [
        (["P|1", "O|1", "R|1|^^^GLU|5"], "R"),
        (["Q|1|^S1||ALL"], "Q"),
        (["P|1", "O|1|S1"], "O"),
        (["P|1", "C|1|I|R|1"], ""),
        ([], ""),
    ],
)
def test_the_kind_is_seen_without_parsing_and_agrees_with_the_parser(records: list[str], kind: str) -> None:
    payload = "\r".join([H, *records, "L|1|N", ""]).encode()
    seen = astm_records.header(payload)
    assert seen == Header(control_id="77", message_type=kind, version="LIS2-A2", sent="20260301101530")
    assert astm_records.parse(payload, FormatOptions()).message_type == kind


def test_a_text_is_split_after_each_terminator_and_nothing_is_left_out() -> None:
    one, two, three = b"H|\\^&\rP|1\rL|1|N\r", b"\n\0H;\\^&\rL;1;N\r\r", b"H|\\^&\rP|1\rH|\\^&\rL|1|N"
    parts = astm_records.split(one + two + three)
    assert b"".join(parts) == one + two + three
    assert [astm_records.header(part).problem for part in parts] == ["", "", ""]
    assert len(parts) == 3


@given(
    st.lists(
        st.sampled_from([b"H|\\^&", b"L|1|N", b"R|1|x", b"\r", b"\n", b"\r\n", b"H;*&", b"L;1", b"\0", b"#", b"\xff"])
    )
)
def test_the_parts_of_any_text_join_to_it(pieces: list[bytes]) -> None:
    payload = b"".join(pieces)
    assert b"".join(astm_records.split(payload)) == payload


@given(st.one_of(st.binary(max_size=200), st.binary(max_size=60).map(lambda tail: b"H|\\^&|1\r" + tail)))
def test_no_bytes_raise_anything_but_a_content_error(payload: bytes) -> None:
    header = astm_records.header(payload)
    for part in astm_records.split(payload):
        with contextlib.suppress(ContentError):
            astm_records.parse(part, FormatOptions())
    try:
        message = astm_records.parse(payload, FormatOptions())
    except ContentError:
        pass
    else:
        assert header.problem == ""
        assert header.control_id == message.control_id
        assert header.message_type == message.message_type


@given(st.text(max_size=40))
def test_unescape_never_raises_and_ignores_plain_text(text: str) -> None:
    delimiters = Delimiters("|", "^", "\\", "&", "")
    assert astm_records.unescape(text.replace("&", ""), delimiters) == text.replace("&", "")
    astm_records.unescape(text, delimiters)


@pytest.mark.parametrize(
    ("record", "number", "name"),
    [
        ("H", 14, "date and time of message"),
        ("P", 35, "dosage category"),
        ("O", 26, "report type"),
        ("R", 4, "value"),
        ("Q", 13, "request status"),
        ("L", 3, "termination code"),
    ],
)
def test_the_field_table_counts_the_type_letter_as_field_one(record: str, number: int, name: str) -> None:
    assert astm_records.FIELDS[record][number] == name
    assert astm_records.FIELDS[record][1] == "record type"


def test_the_lines_of_the_field_table_are_numbered_in_sequence() -> None:
    lines = [
        f"{record}-{number} {name}" if number else f"{record} {name}"
        for record, names in astm_records.FIELDS.items()
        for number, name in enumerate(names)
    ]
    assert table_lines(fields.__file__, "fields.txt") == lines


@pytest.mark.parametrize(
    "filler",
    [
        "C|1\r" * astm_records.MAX_RECORDS,
        "C|1\n" * (astm_records.MAX_RECORDS + 1),
        *("R|1|" + ("a" + each) * astm_records.MAX_DELIMITERS for each in "|\\^"),
    ],
    ids=["records", "lines", "fields", "repetitions", "components"],
)
def test_more_than_any_message_has_is_refused(filler: str) -> None:
    with pytest.raises(ContentError) as caught:
        astm_records.parse(f"H|\\^&\r{filler}\rL|1\r".encode(), FormatOptions())
    assert caught.value.reason is ReasonCode.TOO_LARGE


def test_many_lines_typed_into_a_large_comment_take_time_in_proportion() -> None:
    comment = "x" * 4_000_000 + "\n.." * 9_900  # copied once for each line it would be 40 GB
    began = time.thread_time()
    parsed = astm_records.parse(f"H|\\^&\rP|1\rC|1|I|{comment}\rL|1\r".encode(), FormatOptions())
    assert time.thread_time() - began < 5.0  # of the processor alone; it takes a tenth of a second
    assert parsed.segments[2].fields[4] == comment
