"""Acknowledgements: golden answers for each mode and version, and hostile headers."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.codecs.hl7v2 import acknowledgement
from adapters.codecs.hl7v2.acknowledgement import (
    NOT_STORED,
    Ack,
    AckError,
    acknowledge,
    acknowledge_block,
    answer_code,
    application_acknowledge,
    read_ack,
)
from adapters.codecs.hl7v2.batch import split
from adapters.codecs.hl7v2.header import header
from engine.model.errors import ContentError

NOW = "20260301101530+0530"
TYPE_REFUSED = AckError(200, "MSH^1^9", "no route takes it", reject=True)


def oru(version: str = "2.5", accept: str = "", application: str = "", message_type: str = "ORU^R01^ORU_R01") -> bytes:
    fields = f"XN1000^a|LAB|LIS|HOSP|20260301101500||{message_type}|CTL-7|T|{version}|||{accept}|{application}||8859/1"
    return f"MSH|^~\\&|{fields}\rPID|1||7\r".encode()


def answer(payload: bytes, error: AckError | None = None, ack_code: str = "") -> str | None:
    reply = acknowledge(payload, now_text=NOW, control_id="LR1", ack_code=ack_code, error=error)
    return None if reply is None else reply.decode("latin-1").replace("\r", "\n")


GOLDEN = [
    (
        oru("2.5"),
        None,
        "MSH|^~\\&|LIS|HOSP|XN1000^a|LAB|20260301101530+0530||ACK^R01^ACK|LR1|T|2.5||||||8859/1\nMSA|AA|CTL-7\n",
    ),
    (
        oru("2.5.1", "AL", "NE"),
        None,
        "MSH|^~\\&|LIS|HOSP|XN1000^a|LAB|20260301101530+0530||ACK^R01^ACK|LR1|T|2.5.1||||||8859/1\nMSA|CA|CTL-7\n",
    ),
    (
        oru("2.3.1"),
        None,
        "MSH|^~\\&|LIS|HOSP|XN1000^a|LAB|20260301101530+0530||ACK^R01|LR1|T|2.3.1||||||8859/1\nMSA|AA|CTL-7\n",
    ),
    (
        oru("2.3"),
        None,
        "MSH|^~\\&|LIS|HOSP|XN1000^a|LAB|20260301101530+0530||ACK|LR1|T|2.3||||||8859/1\nMSA|AA|CTL-7\n",
    ),
    (
        oru("2.5.1"),
        NOT_STORED,
        "MSH|^~\\&|LIS|HOSP|XN1000^a|LAB|20260301101530+0530||ACK^R01^ACK|LR1|T|2.5.1||||||8859/1\n"
        "MSA|AE|CTL-7\n"
        "ERR|||207^Application internal error^HL70357|E||||the message could not be stored, please send it again\n",
    ),
    (
        oru("2.5.1", "AL", "AL"),
        TYPE_REFUSED,
        "MSH|^~\\&|LIS|HOSP|XN1000^a|LAB|20260301101530+0530||ACK^R01^ACK|LR1|T|2.5.1||||||8859/1\n"
        "MSA|CR|CTL-7\n"
        "ERR||MSH^1^9|200^Unsupported message type^HL70357|E||||no route takes it\n",
    ),
    (
        oru("2.3.1"),
        TYPE_REFUSED,
        "MSH|^~\\&|LIS|HOSP|XN1000^a|LAB|20260301101530+0530||ACK^R01|LR1|T|2.3.1||||||8859/1\n"
        "MSA|AR|CTL-7|no route takes it\n"
        "ERR|MSH^1^9^200&Unsupported message type&HL70357\n",
    ),
    (
        b"MSH|^~\\&|XN|LAB|||1||ORU^R01||P|2.5\r",
        None,
        "MSH|^~\\&|||XN|LAB|20260301101530+0530||ACK^R01^ACK|LR1|P|2.5\n"
        "MSA|AR|\n"
        "ERR||MSH^1^10|101^Required field missing^HL70357|E||||MSH-10 is missing\n",
    ),
    (
        b"MSH|&&&&|XN|LAB|||1||ORU^R01|1|P|2.5\r",
        None,
        "MSH|^~\\&|||||20260301101530+0530||ACK|LR1|P|2.5\n"
        "MSA|AR|\n"
        "ERR||MSH^1^2|102^Data type error^HL70357|E||||MSH-1 and MSH-2 are not usable as delimiters\n",
    ),
    (
        b"garbage",
        None,
        "MSH|^~\\&|||||20260301101530+0530||ACK|LR1|P|2.5\n"
        "MSA|AR|\n"
        "ERR||MSH^1|100^Segment sequence error^HL70357|E||||no MSH segment\n",
    ),
    (
        b"MSH^~|\\&^A^B^C^D^1^^ADT~A24^77^P^2.6\r",
        TYPE_REFUSED,
        "MSH^~|\\&^C^D^A^B^20260301101530+0530^^ACK~A24~ACK^LR1^P^2.6\n"
        "MSA^AR^77\n"
        "ERR^^MSH~1~9^200~Unsupported message type~HL70357^E^^^^no route takes it\n",
    ),
]


@pytest.mark.parametrize(("payload", "error", "expected"), GOLDEN)
def test_golden_answers(payload: bytes, error: AckError | None, expected: str) -> None:
    assert answer(payload, error) == expected


CODES = [  # MSH-15, MSH-16: stored, not stored, rejected
    ("", "", "AA", "AE", "AR"),
    ("AL", "NE", "CA", "CE", "CR"),
    ("AL", "", "CA", "CE", "CR"),
    ("AL", "AL", "CA", "CE", "CR"),
    ("SU", "NE", "CA", "", ""),
    ("SU", "ER", "CA", "AE", "AR"),
    ("ER", "NE", "", "CE", "CR"),
    ("ER", "AL", "AA", "CE", "CR"),
    ("NE", "AL", "AA", "AE", "AR"),
    ("", "AL", "AA", "AE", "AR"),
    ("NE", "SU", "AA", "", ""),
    ("NE", "ER", "", "AE", "AR"),
    ("NE", "NE", "", "", ""),
    ("NE", "", "", "", ""),
    ("al", " ne ", "CA", "CE", "CR"),
    ("maybe", "?", "AA", "AE", "AR"),
]


@pytest.mark.parametrize(("accept", "application", "stored", "failed", "rejected"), CODES)
def test_which_code_answers_at_once(accept: str, application: str, stored: str, failed: str, rejected: str) -> None:
    assert answer_code(accept, application, None) == stored
    assert answer_code(accept, application, NOT_STORED) == failed
    assert answer_code(accept, application, TYPE_REFUSED) == rejected
    for error, code in ((None, "AA"), (NOT_STORED, "AE"), (TYPE_REFUSED, "AR")):
        assert answer_code(accept, application, error, always=True) == code


def test_no_answer_is_none() -> None:
    assert answer(oru("2.5", "NE", "NE")) is None


@pytest.mark.parametrize("message_type", ["ACK", "ACK^R01", "ACK^R01^ACK", "MCF"])
def test_an_acknowledgement_is_never_answered(message_type: str) -> None:
    payload = oru(message_type=message_type) + b"MSA|AA|1\r"
    assert answer(payload) is None
    assert answer(payload, ack_code="aa") is None
    assert answer(payload, TYPE_REFUSED) is None
    assert application_acknowledge(oru("2.5", "AL", "AL", message_type), now_text=NOW, control_id="2") is None


def test_a_device_that_wants_aa_whatever_it_says() -> None:
    assert "MSA|AA|CTL-7" in (answer(oru("2.5", "NE", "NE"), ack_code="aa") or "")


def test_both_answers_where_both_were_asked_for() -> None:
    payload = oru("2.5", "AL", "AL")
    second = application_acknowledge(payload, now_text=NOW, control_id="LR2")
    assert second == (
        b"MSH|^~\\&|LIS|HOSP|XN1000^a|LAB|20260301101530+0530||ACK^R01^ACK|LR2|T|2.5|||NE|NE||8859/1\rMSA|AA|CTL-7\r"
    )
    refused = application_acknowledge(payload, now_text=NOW, control_id="LR2", error=TYPE_REFUSED)
    assert refused is not None
    assert b"MSA|AR|CTL-7\rERR|" in refused
    for other in (oru(), oru("2.5", "AL", "NE"), oru("2.5", "NE", "AL"), oru("2.5", "AL", "ER"), b"garbage"):
        assert application_acknowledge(other, now_text=NOW, control_id="LR2") is None


def test_the_control_id_comes_back_exactly_in_the_senders_bytes() -> None:
    payload = oru().replace(b"CTL-7", b" M\xfc\\T\\7 ").replace(b"XN1000", b"\xc4\xd6")
    reply = acknowledge(payload, now_text=NOW, control_id="LR1")
    assert reply is not None
    assert b"MSA|AA| M\xfc\\T\\7 \r" in reply
    assert b"|\xc4\xd6^a|LAB|" in reply


@pytest.mark.parametrize("codec", ["utf-16-le", "utf-16-be", "utf-32-le", "utf-32-be"])
def test_wide_senders_get_wide_answers(codec: str) -> None:
    reply = acknowledge(oru().decode().replace("XN1000", "शर्मा").encode(codec), now_text=NOW, control_id="LR1")
    assert reply is not None
    assert reply.decode(codec).lstrip("\ufeff").startswith("MSH|^~\\&|LIS|HOSP|शर्मा^a|")
    assert read_ack(reply) == Ack("AA", "CTL-7")


def test_nothing_of_theirs_can_break_our_framing() -> None:
    payload = oru().replace(b"CTL-7", b"C\x0bT\x1cL\x00").replace(b"LAB", b"L" * 5000 + b"\x1c")
    reply = acknowledge(payload, now_text=NOW, control_id="LR1")
    assert reply is not None
    assert not set(reply) & {0x0B, 0x1C, 0x00}
    assert b"MSA|AA|CTL\r" in reply
    assert len(reply) < 2000


def test_an_endless_control_id_is_rejected_and_not_sent_back() -> None:
    reply = answer(oru().replace(b"CTL-7", b"7" * 300))
    assert reply is not None
    assert "MSA|AR|\n" in reply
    assert "|104^Value too long^HL70357|" in reply


def test_a_version_that_is_none_gets_the_shortest_answer_and_a_missing_one_ours() -> None:
    assert "||ACK|LR1|T|banana|" in (answer(oru("banana")) or "")
    assert "||ACK^R01^ACK|LR1|T|2.5|" in (answer(oru("")) or "")


def test_a_batch_is_answered_with_a_batch() -> None:
    block = (
        b"FHS|^~\\&\rBHS|^~\\&|XN|LAB\r" + oru() + oru("2.5", "NE", "NE") + oru().replace(b"CTL-7", b"") + b"BTS|3\r"
    )
    reply = acknowledge_block(block, split(block), now_text=NOW, control_id="LR1")
    assert reply is not None
    lines = reply.decode().split("\r")
    assert lines[0] == "FHS|^~\\&|LIS|HOSP|XN1000^a|LAB|20260301101530+0530||||LR1"
    assert lines[1] == "BHS|^~\\&|LIS|HOSP|XN|LAB|20260301101530+0530||||LR1"
    assert [line for line in lines if line.startswith("MSA")] == ["MSA|AA|CTL-7", "MSA|AR|"]
    assert [line.split("|")[9] for line in lines if line.startswith("MSH")] == ["LR1.1", "LR1.3"]
    assert lines[-3:] == ["BTS|2", "FTS|1", ""]
    silent = b"BHS|^~\\&\r" + oru("2.5", "NE", "NE") + b"BTS|1\r"
    assert acknowledge_block(silent, split(silent), now_text=NOW, control_id="LR1") is None


def test_a_batch_whose_header_cannot_be_read_is_answered_in_the_delimiters_of_its_messages() -> None:
    block = b"BHS|&&&&|XN|LAB|||||||B1\r" + oru() + b"BTS|1\r"
    reply = acknowledge_block(block, split(block), now_text=NOW, control_id="LR1")
    assert reply is not None
    lines = reply.decode().split("\r")
    assert lines[0] == "BHS|^~\\&|LIS|HOSP|XN1000^a|LAB|20260301101530+0530||||LR1"
    assert [line for line in lines if line.startswith("MSA")] == ["MSA|AA|CTL-7"]


def test_every_batch_of_a_file_is_answered_by_one_that_names_it() -> None:
    """BHS-12 and FHS-12 are the numbers of what is answered; a batch that wants no answer has none."""
    first, second, silent = oru(), oru().replace(b"CTL-7", b"CTL-8"), oru("2.5", "NE", "NE")
    block = (
        b"FHS|^~\\&|XN|LAB|||||||F1\rBHS|^~\\&|XN|LAB|LIS|HOSP|||||B1\r" + first + b"BTS|1\r"
        b"BHS|^~\\&|||||||||B2\r" + silent + b"BTS|1\rBHS#@~\\&#XN##LIS@2######B3\r" + second + b"BTS#1\rFTS|3\r"
    )
    reply = acknowledge_block(block, split(block), now_text=NOW, control_id="LR1")
    assert reply is not None
    lines = [line for line in reply.decode().split("\r") if line[:3] != "MSH"]
    assert lines == [
        "FHS|^~\\&|LIS|HOSP|XN|LAB|20260301101530+0530||||LR1|F1",
        "BHS|^~\\&|LIS|HOSP|XN|LAB|20260301101530+0530||||LR1|B1",
        "MSA|AA|CTL-7",
        "BTS|1",
        "BHS#@~\\&#LIS@2##XN##20260301101530+0530####LR1.B2#B3",
        "MSA|AA|CTL-8",
        "BTS#1",
        "FTS|2",
        "",
    ]
    assert [part[:3] for part in split(reply)] == [b"MSH", b"MSH"]  # and it can be read as a batch itself


@pytest.mark.parametrize("codec", ["utf-16", "utf-16-be", "utf-32"])
def test_a_batch_in_two_bytes_a_character_is_answered_in_them(codec: str) -> None:
    block = ("BHS|^~\\&|Größe|LAB|||||||B1\r" + oru().decode() + "BTS|1\r").encode(codec)
    reply = acknowledge_block(block, split(block), now_text=NOW, control_id="LR1")
    assert reply is not None
    text = reply.decode(codec.removesuffix("-be") if reply[:2] in (b"\xff\xfe", b"\xfe\xff") else codec)
    assert text.startswith("BHS|^~\\&|LIS|HOSP|Größe|LAB|20260301101530+0530||||LR1|B1\r")
    assert "MSA|AA|CTL-7\r" in text
    assert text.count("\ufeff") == 0


def test_lines_outside_of_a_message_have_their_place_in_the_batch() -> None:
    """They are parts of their own, rejected, and take nobody else's answer."""
    block = b"BHS|^~\\&\rlost\r" + oru() + b"BTS|1\rPID|1\r" + oru().replace(b"CTL-7", b"CTL-8")
    parts = split(block)
    assert len(parts) == 4
    reply = acknowledge_block(block, parts, now_text=NOW, control_id="LR1")
    assert reply is not None
    lines = [line for line in reply.decode().split("\r") if line[:3] in ("BHS", "MSA", "BTS")]
    assert [line[:9] for line in lines[1:4]] == ["MSA|AR|", "MSA|AA|CT", "BTS|2"]
    assert lines[-3:] == ["MSA|AR|", "MSA|AA|CTL-8", "BTS|2"]


def test_several_messages_without_a_batch_get_the_worst_or_last_answer() -> None:
    first, second = oru(), oru().replace(b"CTL-7", b"CTL-8")
    both = acknowledge_block(first + second, [first, second], now_text=NOW, control_id="LR1")
    assert both is not None
    assert read_ack(both) == Ack("AA", "CTL-8")
    worst = acknowledge_block(first + second, [first, second], now_text=NOW, control_id="LR1", errors=[NOT_STORED])
    assert worst is not None
    assert read_ack(worst).control_id == "CTL-7"
    assert read_ack(worst).code == "AE"


@pytest.mark.parametrize(
    ("errors", "code"),
    [
        ([TYPE_REFUSED, NOT_STORED], "AR"),
        ([NOT_STORED, TYPE_REFUSED], "AR"),
        ([NOT_STORED, None], "AE"),
        ([None, NOT_STORED], "AE"),
        ([None, None], "AA"),
    ],
)
def test_the_worst_of_several_is_the_answer(errors: list[AckError | None], code: str) -> None:
    block = oru() + oru()
    reply = acknowledge_block(block, split(block), now_text=NOW, control_id="LR1", errors=errors)
    assert reply is not None
    assert b"\rMSA|%s|" % code.encode() in reply


def test_what_an_ack_says() -> None:
    head = b"MSH|^~\\&|A|B|C|D|1||ACK|9|P|2.5\r"
    assert read_ack(head + b"MSA|ca| CTL-7 \r") == Ack("CA", "CTL-7")
    assert read_ack(head + b"MSA|AE|1|no such patient\r") == Ack("AE", "1", "no such patient")
    assert read_ack(head + b"MSA|AR|1\nERR||PID^1|101^Required^HL70357|E||||say who\n") == Ack("AR", "1", "say who")
    assert read_ack(head + "MSA|AA|Ü7".encode()) == read_ack(head + "MSA|AA|Ü7".encode("latin-1")) == Ack("AA", "Ü7")
    assert read_ack(b"\xef\xbb\xbf" + head.replace(b"|9|", b"||") + b"MSA|AA|1") == Ack("AA", "1")


@pytest.mark.parametrize(
    "payload",
    [b"", b"garbage", b"MSH|^~\\&|\r", b"MSH|^~\\&|A\rMSA\r", b"MSH|^~\\&|A\rMSA|OK|1\r", b"MSH|&&&&|\rMSA|AA|1"],
)
def test_what_is_no_ack(payload: bytes) -> None:
    with pytest.raises(ContentError):
        read_ack(payload)


pieces = st.sampled_from(
    [b"MSH", b"|", b"^~\\&", b"^", b"~", b"\r", b"AL", b"NE", b"2.5", b"ACK^R01", b"1", b"\x1c", b"\xff", b"M\0S\0H\0"]
)


@given(
    st.binary(max_size=200) | st.lists(pieces, max_size=60).map(b"".join),
    st.sampled_from([None, NOT_STORED, TYPE_REFUSED]),
)
def test_hostile_headers_get_an_answer_that_can_be_read_or_none(payload: bytes, error: AckError | None) -> None:
    reply = acknowledge(payload, now_text=NOW, control_id="LR1", error=error)
    application_acknowledge(payload, now_text=NOW, control_id="LR1", error=error)
    if reply is None:
        return
    found = header(reply)
    assert found.problem == ""
    assert found.control_id == "LR1"
    expected = "A" if error is None else "R" if error.reject else "E"
    assert read_ack(reply).code[1] == ("R" if header(payload).problem else expected)
    block = acknowledge_block(payload, split(payload), now_text=NOW, control_id="LR1")
    assert block is None or not set(block) & {0x0B, 0x1C} or b"\0" in block


@given(
    st.sampled_from(["CTL-7", "1", "ä", "x y", "a\\T\\b"]),
    st.sampled_from(["2.1", "2.3", "2.3.1", "2.4", "2.5.1", "2.8"]),
)
def test_an_answer_names_the_message_it_answers(control_id: str, version: str) -> None:
    payload = oru(version).decode().replace("CTL-7", control_id).encode()
    reply = acknowledge(payload, now_text=NOW, control_id="LR1")
    assert reply is not None
    assert read_ack(reply) == Ack("AA", control_id)


def test_answers_to_one_sender_share_their_text_and_no_other_answer_does() -> None:
    """The text around MSH-7, MSH-10 and MSA-2 is made once for all messages that differ in MSH-7 and MSH-10 alone."""
    acknowledgement._around.cache_clear()
    replies = {answer(oru().replace(b"CTL-7", b"%d" % n).replace(b"101500", b"10%04d" % n)) for n in range(20)}
    assert len(replies) == 20
    assert acknowledgement._around.cache_info().misses == 1
    for other in (oru("2.3"), oru(accept="AL"), oru().replace(b"|LIS|", b"|HIS|"), oru().replace(b"|", b"#")):
        assert answer(other) not in replies
    assert answer(oru(), NOT_STORED) not in replies
    assert acknowledgement._around.cache_info().misses == 6
