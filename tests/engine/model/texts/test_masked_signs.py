"""Bytes as people read them: everything a line is judged by, nothing that a patient is known by."""

from hypothesis import given
from hypothesis import strategies as st

from engine.model.texts.signs import masks, rows, text

FRAME = b"\x05\x021H|\\^&|||ACME^1\rP|1||77||Doe^John\r\x037E\r\n\x04"


def test_masked_keeps_what_the_protocol_put_there() -> None:
    assert text(FRAME, masked=True) == ("ENQ STX 1H|\\^&|||xxxx^9 CR P|9||99||xxx^xxxx CR ETX 7E CR LF EOT")


def test_unmasked_shows_it() -> None:
    assert "P|1||77||Doe^John CR" in text(FRAME, masked=False)


def test_hex_beside_it_is_masked_alike() -> None:
    shown = [row.hex for row in rows(FRAME, masked=True)]

    assert shown[0] == "05 02 31 48 7C 5C 5E 26 7C 7C 7C .. .. .. .. 5E"
    assert shown[2] == "50 7C .. 7C 7C .. .. 7C 7C .. .. .. 5E .. .. .."


def test_segments_of_hl7_keep_their_names() -> None:
    assert text(b"\x0bMSH|^~\\&|LAB\rPID|1||77\rDOE|x\r\x1c\r", masked=True) == (
        "VT MSH|^~\\&|xxx CR PID|9||99 CR xxx|x CR FS CR"
    )


def test_a_field_that_goes_on_in_the_next_frame_shows_no_letter() -> None:
    assert text(b"\x022OE^JOHN|1\r", masked=True) == "STX 2xx^xxxx|9 CR"


def test_a_record_is_told_by_what_stood_before() -> None:
    assert text(b"P|1", masked=True, before=b"\r") == "P|9"
    assert text(b"P|1", masked=True, before=b"O") == "x|9"


def test_bytes_with_bit_7_set_are_told_apart() -> None:
    (row,) = rows(b"R|\xc3\xa9\x80", masked=True)

    assert (row.hex, row.text) == ("52 7C ^^ ^^ ^^", "R|???")


@given(st.text(alphabet=st.characters(categories=("L", "N")), max_size=30))
def test_no_letter_and_no_digit_of_a_field_is_shown(field: str) -> None:
    value = field.encode("utf-8", "ignore")

    hidden = masks(b"P|1|" + value + b"|")

    assert all(hidden[4:-1])


@given(st.binary(max_size=80), st.booleans())
def test_rows_hold_every_byte_once(data: bytes, masked: bool) -> None:
    assert sum(len(row.hex.split()) for row in rows(data, masked=masked)) == len(data)
