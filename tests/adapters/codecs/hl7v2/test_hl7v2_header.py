"""The MSH segment from the bytes: never an exception, and a problem exactly where a message cannot be read."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.codecs.hl7v2.header import MAX_CONTROL_ID, delimiters_in, header, read_msh
from engine.model.message import Delimiters, Header


def msh(control_id: str = "1", encoding: str = "^~\\&", bar: str = "|") -> bytes:
    fields = ["MSH", encoding, "XN", "LAB", "LIS", "HOSP", "20260301", "", "ORU^R01", control_id, "P", "2.5.1"]
    return bar.join(fields).encode() + b"\rPID|1\r"


def test_a_header() -> None:
    assert header(msh("CTL-7")) == Header("CTL-7", "ORU^R01", "2.5.1")


@pytest.mark.parametrize("lead", [b"\xef\xbb\xbf", b"\r\n", b" \t", b"\x00"])
def test_blanks_and_a_byte_order_mark_before_msh(lead: bytes) -> None:
    assert header(lead + msh()) == Header("1", "ORU^R01", "2.5.1")


@pytest.mark.parametrize("eol", [b"\n", b"\r\n"])
def test_other_line_ends(eol: bytes) -> None:
    assert header(msh().replace(b"\r", eol)) == Header("1", "ORU^R01", "2.5.1")


@pytest.mark.parametrize("codec", ["utf-16-le", "utf-16-be", "utf-32-le", "utf-32-be"])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_utf_16_and_utf_32(codec: str, mark: str) -> None:
    assert header((mark + msh("Ü7").decode()).encode(codec)) == Header("Ü7", "ORU^R01", "2.5.1")


def test_other_delimiters() -> None:
    payload = b"MSH^~|\\&^SENDING~200^RECEIVING^200^^20120918^^ADT~A24^77^P^2.6\r"
    assert header(payload) == Header("77", "ADT^A24", "2.6")
    assert read_msh(payload).delimiters == Delimiters("^", "~", "|", "\\", "&")


def test_a_short_msh_2_means_that_the_others_do_not_exist() -> None:
    assert read_msh(msh(encoding="^~")).delimiters == Delimiters("|", "^", "~", "", "")
    assert header(msh(encoding="^")) == Header("1", "ORU^R01", "2.5.1")


def test_a_truncation_character_is_allowed() -> None:
    assert read_msh(msh(encoding="^~\\&#")).delimiters == Delimiters()


@pytest.mark.parametrize("encoding", ["", "&&&&", "^~\\", "^~y&", "^ \\&", "0~00", "^^\\&", "^~\\é", "^~\\&^"])
def test_delimiters_that_cannot_be_told_apart(encoding: str) -> None:
    if encoding == "^~\\":  # short, but good
        assert delimiters_in("|", encoding) is not None
        return
    assert "delimiters" in header(msh(encoding=encoding)).problem


@pytest.mark.parametrize("bar", ["A", "1", " ", "\t", "^"])
def test_a_field_separator_that_is_none(bar: str) -> None:
    assert "delimiters" in header(msh(bar=bar)).problem


@pytest.mark.parametrize("control_id", ["", "  ", '""'])
def test_a_missing_control_id_is_a_problem_but_the_type_is_known(control_id: str) -> None:
    found = header(msh(control_id))
    assert found == Header("", "ORU^R01", "2.5.1", "MSH-10 is missing")


def test_a_control_id_beyond_all_measure_is_a_problem() -> None:
    assert header(msh("x" * MAX_CONTROL_ID)).problem == ""
    assert "longer" in header(msh("x" * (MAX_CONTROL_ID + 1))).problem


@pytest.mark.parametrize(
    "payload", [b"", b"MS", b"MSH", b"MSH|", b"MSH|^~\\&", b"H|\\^&", b"PID|1", b"\x05", b"MSH\r|^~\\&|"]
)
def test_what_is_no_header(payload: bytes) -> None:
    assert header(payload).problem


def test_a_type_holds_nothing_that_could_identify_a_person() -> None:
    payload = msh().replace(b"ORU^R01", b"ORU^Jane Doe 1980")
    assert header(payload).message_type == "ORU"
    assert header(msh().replace(b"ORU^R01", "Müller".encode())).message_type == ""


def test_control_ids_in_8_bit_sets_are_read_as_utf_8_where_they_are() -> None:
    assert header(msh("π1")).control_id == "π1"
    assert header(msh().replace(b"|1|", b"|\xfc1|")).control_id == "ü1"


@given(st.binary(max_size=300))
def test_any_bytes_have_a_header(payload: bytes) -> None:
    header(payload)


@given(
    st.lists(st.sampled_from([b"MSH", b"|", b"^~\\&", b"\r", b"\n", b"\0", b"\xff\xfe", b"1", b"ORU^R01"]), max_size=30)
)
def test_any_pieces_of_a_header_have_a_header(pieces: list[bytes]) -> None:
    found = header(b"".join(pieces))
    assert found.problem or found.control_id


@pytest.mark.parametrize("msh9", ["MUSTERMANN", "4711", "mustermann^ERIKA", "19800101^A_B", "ORUX^R001"])
def test_what_is_no_code_of_a_type_is_not_told_as_one(msh9: str) -> None:
    assert header(f"MSH|^~\\&|A|B|||1||{msh9}|1|P|2.5\r".encode()).message_type == ""
