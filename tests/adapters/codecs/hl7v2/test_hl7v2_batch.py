"""Several messages in one block."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.codecs.hl7v2 import batch as hl7v2_batch
from adapters.codecs.hl7v2.batch import is_batch, split

A = b"MSH|^~\\&|XN|LAB|||1||ORU^R01|1|P|2.5\rPID|1\rOBX|1\r"
B = b"MSH|^~\\&|XN|LAB|||1||ORU^R01|2|P|2.5\rPID|1\r"
FHS = b"FHS|^~\\&|XN\r"
BHS = b"BHS|^~\\&|XN\r"


def test_one_message_is_itself() -> None:
    assert split(A)[0] is A


@pytest.mark.parametrize("lead", [b"\xef\xbb\xbf", b"\r\n"])
def test_one_message_after_a_mark_is_itself(lead: bytes) -> None:
    assert split(lead + A) == [lead + A]


def test_a_batch() -> None:
    payload = FHS + BHS + A + B + b"BTS|2\rFTS|1\r"
    assert split(payload) == [A, B]
    assert is_batch(payload)


def test_several_messages_without_a_batch_header() -> None:
    assert split(A + B + A) == [A, B, A]
    assert split(A.replace(b"\r", b"\n") + b"\n\n" + B) == [A.replace(b"\r", b"\n") + b"\n\n", B]
    assert not is_batch(A + B)


def test_trailers_without_values_and_bare_trailers() -> None:
    assert split(BHS + A + b"BTS\rFTS") == [A]


def test_envelopes_may_have_delimiters_of_their_own() -> None:
    assert split(b"FHS#^~\\&#XN\rBHS!^~\\&!XN\r" + A + b"BTS!1\rFTS#1\r") == [A]


def test_what_is_outside_of_any_message_is_a_part_of_its_own() -> None:
    assert split(b"garbage\r" + A) == [b"garbage\r", A]
    assert split(BHS + A + b"BTS|1\rgarbage\r" + B) == [A, b"garbage\r", B]


@pytest.mark.parametrize("payload", [b"", b"garbage", FHS + BHS + b"BTS|0\rFTS|1\r", b"\r\n", b"H|\\^&\r"])
def test_a_block_without_any_message_is_one_part(payload: bytes) -> None:
    assert split(payload) == [payload]


def test_text_that_mentions_msh_starts_no_message() -> None:
    payload = A + b"NTE|1||see MSH| or\rNTE|2||MSH"
    assert split(payload) == [payload]


@pytest.mark.parametrize("codec", ["utf-16-le", "utf-16-be", "utf-32-le"])
def test_batches_in_utf_16(codec: str) -> None:
    def wide(data: bytes) -> bytes:
        return data.decode().encode(codec)

    assert split(wide(A)) == [wide(A)]
    assert split(wide(FHS + BHS + A + B + b"BTS|2\r")) == [wide(A), wide(B)]
    assert is_batch(wide(FHS))


pieces = st.lists(st.sampled_from([A, B, FHS, BHS, b"BTS|1\r", b"FTS|1\r", b"x\r", b"\n", b"\0"]), max_size=8)


@given(pieces.map(b"".join) | st.binary(max_size=100))
def test_every_message_is_in_some_part_in_order(payload: bytes) -> None:
    parts = split(payload)
    assert parts
    at = 0
    for part in parts:
        at = payload.index(part, at) + len(part)
    assert b"".join(parts).count(b"MSH") == payload.count(b"MSH")


LINES = [b"MSH|", b"MSHX", b"MSH", b"FHS|", b"BTS|1", b" \t\0MSH|", b"         MSH|", b"OBX|1|ED|MSH|BHS", b"x", b""]


@given(st.lists(st.sampled_from(LINES), max_size=6), st.sampled_from([b"\r", b"\n", b"\r\n"]))
def test_a_look_at_each_line_finds_what_a_look_at_each_byte_finds(lines: list[bytes], end: bytes) -> None:
    payload = end.join([b"MSH|^~\\&|A", *lines, b"NTE|1||MSH"])
    found = hl7v2_batch._parts(payload)
    expected = [part.raw for part in found if part.name not in (b"FHS", b"BHS", b"BTS", b"FTS")]
    assert split(payload) == ([payload] if len(found) == 1 else expected)
