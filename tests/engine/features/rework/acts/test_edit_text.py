"""A message in an editor: what was not touched comes back as the same bytes, whatever they were."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from engine.features.rework.acts.edit import HEAD, Shape, read, shown
from engine.model.errors import EditedTextError

CHARSETS = ("utf-8", "iso-8859-1", "ascii", "shift_jis", "iso2022_jp", "gb18030", "utf-16", "koi8-r", "nothing-known")
# Everything that an editor or this way of writing could trip over, often.
PIECES = st.sampled_from(
    [b"\r", b"\n", b"\r\n", b"<0D>", b"<3C>", b"<", b">", b"\x00", b"\x1b$B", b"\xef\xbb\xbf", b"# labrelay: x", b"\t"]
)
PAYLOADS = st.lists(st.one_of(PIECES, st.binary(max_size=6), st.text(max_size=6).map(str.encode)), max_size=12).map(
    b"".join
)


@given(PAYLOADS, st.lists(st.sampled_from(CHARSETS), max_size=3))
@example(b"", ["nothing-known"])
def test_what_is_not_changed_comes_back_as_the_same_bytes(payload: bytes, charsets: list[str]) -> None:
    text, shape = shown(payload, charsets)
    assert read(text, shape) == payload
    assert all(sign == "\n" or ord(sign) >= 0x20 for sign in text), "no control character reaches the editor"


@given(PAYLOADS)
def test_editors_may_write_other_line_ends_a_mark_and_a_head(payload: bytes) -> None:
    text, shape = shown(payload)
    assert read("\ufeff" + f"{HEAD}for you\n" + text.replace("\n", "\r\n"), shape) == payload


def test_segments_are_lines_and_their_ends_survive() -> None:
    payload = b"MSH|^~\\&|XN\rPID|1\rOBX|1|TX|||two\nlines\r"
    text, shape = shown(payload)
    assert text == "MSH|^~\\&|XN\nPID|1\nOBX|1|TX|||two<0A>lines\n"
    assert shape == Shape("utf-8", "\r", True)
    assert read(text.replace("PID|1", "PID|2"), shape) == payload.replace(b"PID|1", b"PID|2")


@pytest.mark.parametrize("end", [b"\r", b"\r\n", b"\n"])
@pytest.mark.parametrize("last", [True, False])
def test_a_last_line_keeps_its_end_or_its_lack_of_one(end: bytes, last: bool) -> None:
    payload = b"H|\\^&" + end + b"P|1" + (end if last else b"")
    text, shape = shown(payload)
    assert text == "H|\\^&\nP|1\n"
    assert read(text, shape) == read(text.rstrip("\n"), shape) == payload


def test_a_sign_is_written_in_the_messages_own_character_set() -> None:
    payload = "PID|||Müller\r".encode("iso-8859-1")
    text, shape = shown(payload, ["iso-8859-1"])
    assert text == "PID|||Müller\n"
    assert read(text.replace("ü", "é"), shape) == "PID|||Méller\r".encode("iso-8859-1")
    with pytest.raises(EditedTextError, match=r"line 1: the sign 'ł' \(U\+0142\).*iso-8859-1"):
        read(text.replace("ü", "ł"), shape)


def test_bytes_that_are_no_text_are_shown_as_bytes() -> None:
    text, shape = shown(b"PID|||M\xfcller\r")
    assert text == "PID|||M<FC>ller\n"
    assert read(text, shape) == b"PID|||M\xfcller\r"


def test_what_only_looks_like_a_byte_stays_text() -> None:
    text, shape = shown(b"OBX|<0D>\r")
    assert text == "OBX|<3C>0D>\n"
    assert read(text, shape) == b"OBX|<0D>\r"
    assert read("OBX|<0D>\n", shape) == b"OBX|\r\r"


def test_signs_that_are_not_seen_are_shown_as_bytes() -> None:
    text, _ = shown("PID|\u202eabc\ufeff\u3000x\r".encode())
    assert text == "PID|<E2><80><AE>abc<EF><BB><BF>\u3000x\n"
