"""The link of files: what is taken out of a file, and when it may be put away."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.codecs.text.whole_link import ACK, NAK, WholeLink
from engine.model.link_events import Block, LinkFault, SessionEnd
from tests.support.astm_peer import one_record_a_frame
from tests.support.corpus import CorpusFile, own_and_captured

MSH = b"MSH|^~\\&|A|L|R|L|20260301101530||ORU^R01|1|P|2.5\rOBR|1|||x\r"
ASTM = b"H|\\^&|77||XN\rP|1\rO|1|S1\rR|1|^^^WBC|5.1|10*3/uL\rL|1|N\r"


def blocks(content: str, data: bytes) -> list[bytes]:
    """The blocks of a file that is taken; nothing for one that is refused."""
    link = WholeLink(content)
    events = link.receive(data, 0.0)
    if link.outgoing() == NAK:
        assert [type(event) for event in events] == [LinkFault]
        return []
    found = [event.payload for event in events if isinstance(event, Block)]
    for number in range(len(found)):
        assert link.outgoing() == b"", number  # not before the last of them is durable
        link.committed(0.0)
    assert link.outgoing() == ACK
    assert link.outgoing() == b""
    return found


@pytest.mark.parametrize(
    ("content", "data", "found"),
    [
        ("text", b"anything\x02", [b"anything\x02"]),
        ("hl7v2", MSH, [MSH]),
        ("hl7v2", MSH + MSH, [MSH + MSH]),  # the format splits it
        ("hl7v2", b"\x0b" + MSH + b"\x1c\r", [MSH]),
        ("hl7v2", b"\r\n\x0b" + MSH + b"\x1c\r\n\x0b" + MSH + b"\x1c", [MSH, MSH]),
        ("hl7v2", b"\x0b" + MSH + b"\x1c\r\x0b" + MSH[:30], []),
        ("astm", ASTM, [ASTM]),
        ("astm", ASTM.replace(b"\r", b"\r\n"), [ASTM.replace(b"\r", b"\r\n")]),
        ("astm", ASTM.removesuffix(b"\r"), [ASTM.removesuffix(b"\r")]),
        ("astm", ASTM + ASTM, [ASTM, ASTM]),
        ("astm", ASTM + ASTM[:40], []),
        ("astm", ASTM[:40], []),
        ("astm", b"", None),
        ("astm", b"no records", [b"no records"]),
    ],
)
def test_what_a_file_holds(content: str, data: bytes, found: list[bytes] | None) -> None:
    if found is None:
        assert WholeLink(content).receive(data, 0.0) == []
    else:
        assert blocks(content, data) == found


def test_a_captured_session_is_unframed() -> None:
    session = b"\x05" + b"".join(one_record_a_frame(ASTM)) + b"\x04"
    assert blocks("astm", session) == [ASTM]
    assert blocks("astm", session[:-30]) == []


@given(st.integers(0, len(ASTM) - 1))
def test_a_file_of_records_that_is_cut_is_never_taken(at: int) -> None:
    taken = blocks("astm", ASTM[:at]) if at else []
    whole = ASTM.removesuffix(b"\r")
    assert taken == [] or not taken[0].startswith(b"H|\\^&") or taken[0].startswith(whole)


@pytest.mark.parametrize("file", own_and_captured("hl7"), ids=lambda file: file.name)
def test_files_of_hl7_are_taken_as_they_are(file: CorpusFile) -> None:
    data = file.path.read_bytes()
    assert b"".join(blocks("hl7v2", data)) in (data, data.strip(b"\x0b\x1c\r\n"))


def test_a_record_that_is_too_large_is_no_message_and_its_place_is_taken() -> None:
    link = WholeLink("", 9)
    (end,) = link.receive(b"0123456789", 0.0)
    assert end == SessionEnd("closed", incomplete=b"0123456789", too_large=True)
    assert link.outgoing() == ACK
    (block,) = WholeLink("", 9).receive(b"012345678", 0.0)
    assert isinstance(block, Block)
    assert block.payload == b"012345678"
