"""A line of which nothing is known yet: each byte of a text is kept, whatever begins in it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.codecs.astm.link import AstmReceiver
from adapters.codecs.astm.session import AstmOptions
from adapters.codecs.draft_link import MAX_TEXT, SILENCE_S, DraftLink
from adapters.codecs.hl7v2.mllp import MllpLink, MllpOptions
from engine.model.link_events import SessionEnd
from tests.adapters.codecs.test_auto_link import BLOCK, MESSAGE, RECORDS, SESSION, Conversation

ROWS = b"Batch;;\r\nSample;Test;Result;Unit\r\nS-1;pH;;\r\nS-1;GLU;5,4;mmol/L\r\nMS;H\r\nH\r\n"


class Draft(Conversation):
    def __init__(self, *, joins: bool = False) -> None:
        super().__init__()
        self.link = DraftLink(
            lambda: MllpLink(MllpOptions(start_without_vt=True)),
            lambda: AstmReceiver(AstmOptions(framing="enq-less")),
            joins=joins,
        )

    @property
    def torn(self) -> list[bytes]:
        return [one.incomplete for one in self.events if isinstance(one, SessionEnd) and one.incomplete]


@given(size=st.integers(0, 40), behind=st.sampled_from([b"", b"M", b"H", b"\r\nMSH"]))
def test_all_of_a_text_is_kept_however_it_is_cut(size: int, behind: bytes) -> None:
    line = Draft().send(ROWS + behind, size)
    assert line.messages == []
    assert line.wait(SILENCE_S).messages == [ROWS + behind]
    assert line.link.held == 0


def test_a_text_is_not_over_before_the_silence() -> None:
    line = Draft().send(ROWS).wait(SILENCE_S / 2).send(ROWS).wait(SILENCE_S / 2)
    assert line.messages == []
    assert line.link.deadline() == pytest.approx(line.now + SILENCE_S / 2)
    assert line.wait(SILENCE_S).messages == [ROWS * 2]


@given(size=st.integers(0, 40))
def test_what_auto_knows_is_read_as_there_and_answered(size: int) -> None:
    line = Draft().send(SESSION, size).send(BLOCK, size).send(ROWS, size).send(BLOCK, size).send(SESSION, size)
    assert line.messages == [RECORDS, MESSAGE, ROWS, MESSAGE, RECORDS]
    assert line.out.count(b"\x06") == 2 * (1 + RECORDS.count(b"\r"))


def test_a_text_that_the_end_of_the_connection_cut_off_is_no_message() -> None:
    line = Draft()
    line.send(b"\r\n").send(ROWS)
    line.events += line.link.closed()
    assert (line.messages, line.torn) == ([], [ROWS])
    assert not Draft().send(b"\r\n\x00").link.closed()


def test_the_rest_of_a_text_on_a_line_that_was_just_opened_is_no_message() -> None:
    line = Draft(joins=True)
    assert line.link.deadline() == 0.0
    line.link.tick(line.now)
    line.send(ROWS[9:]).wait(SILENCE_S)
    assert (line.messages, line.torn) == ([], [ROWS[9:]])
    assert line.send(ROWS).wait(SILENCE_S).messages == [ROWS]
    quiet = Draft(joins=True)
    quiet.link.tick(quiet.now)
    assert quiet.wait(SILENCE_S).send(ROWS).wait(SILENCE_S).messages == [ROWS]


def test_a_text_without_an_end_is_cut_and_nothing_of_it_is_lost() -> None:
    text = b"1;2;3\r\n" * (MAX_TEXT // 7 + 1000)
    line = Draft().send(text, 4096).wait(SILENCE_S)
    assert len(line.messages) == 2
    assert b"".join(line.messages) == text
