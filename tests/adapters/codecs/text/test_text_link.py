"""The link of analyzers with a framing of their own: every text once and whole, whatever the line does to it."""

import string
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adapters.codecs.text.framing import CHECKSUMS, NAMES, Checksum, Framing, shown, wire
from adapters.codecs.text.link import NOISE_STEP, TextLink, links
from engine.model.link_events import Frame, LinkEvent, LinkFault, SessionEnd
from tests.support.examples import examples

ENQ, ACK, NAK, STX, ETX = NAMES["ENQ"], NAMES["ACK"], NAMES["NAK"], NAMES["STX"], NAMES["ETX"]
EOT, GS, CR, LF = NAMES["EOT"], NAMES["GS"], NAMES["CR"], NAMES["LF"]
PLAIN = Framing(start=STX, end=ETX)
SUM = Checksum(kind="sum", end=True)
ANSWERED = Framing(start=STX, end=GS, checksum=SUM, good=ACK, bad=NAK, replies={5: ACK}, between=CR + LF + ETX + EOT)
FRAMINGS = {
    "start and end": PLAIN,
    "no start": Framing(end=ETX),
    "checksum behind": Framing(start=STX, end=ETX, checksum=Checksum(kind="xor", start=True, written="byte")),
    "checksum before": Framing(start=STX, end=ETX, checksum=Checksum(kind="negated-sum", place="before")),
    "answered": ANSWERED,
    "words": Framing(start=b"--- Report", end=b"=========="),
    "lines": Framing(lines=2),
    "lines from a start": Framing(start=STX, lines=2),
}
# Neither the bytes that end a text nor those that begin one or mean nothing between them.
CONTENT = st.text(string.ascii_letters + string.digits + "|.<> ", min_size=1, max_size=30).map(
    lambda text: b"x" + text.encode()
)


def encode(framing: Framing, content: bytes) -> bytes:
    """A text as an analyzer sends it."""
    if framing.lines:
        return framing.start + (content + CR) * framing.lines
    checksum = framing.checksum
    if checksum is None:
        return framing.start + content + framing.end
    digits = checksum.write(checksum.of(content, framing.start, framing.end))
    behind = (digits, framing.end) if checksum.place == "before" else (framing.end, digits)
    return framing.start + content + behind[0] + behind[1]


def content_of(framing: Framing, content: bytes) -> bytes:
    return (content + CR) * framing.lines if framing.lines else content


class Line:
    """A link that is fed as the channel feeds it, and what came of it."""

    def __init__(self, framing: Framing, *, keeps: bool = True, **more: Any) -> None:
        self.link = TextLink(framing, **more)
        self.keeps = keeps
        self.now = 0.0
        self.events: list[LinkEvent] = []
        self.out = b""

    def feed(self, data: bytes) -> "Line":
        events = self.link.receive(data, self.now)
        self._take(events)
        while events:
            events = self.link.receive(b"", self.now)
            self._take(events)
        return self

    def wait(self, seconds: float) -> "Line":
        self.now += seconds
        self._take(self.link.tick(self.now))
        return self

    def close(self) -> "Line":
        self._take(self.link.closed())
        return self

    def _take(self, events: list[LinkEvent]) -> None:
        for event in events:
            self.events.append(event)
            if isinstance(event, Frame):
                (self.link.committed if self.keeps else self.link.failed)(self.now)
        self.out += self.link.outgoing()

    @property
    def texts(self) -> list[bytes]:
        return [text for event in self.events if isinstance(event, Frame | SessionEnd) for text in event.completes]

    @property
    def incomplete(self) -> list[bytes]:
        return [event.incomplete for event in self.events if isinstance(event, SessionEnd) and event.incomplete]

    @property
    def faults(self) -> list[str]:
        return [event.kind for event in self.events if isinstance(event, LinkFault)]


def chunks(data: bytes, sizes: list[int]) -> list[bytes]:
    parts, at, turn = [], 0, 0
    while at < len(data):
        size = sizes[turn % len(sizes)]
        parts.append(data[at : at + size])
        at += size
        turn += 1
    return parts


@pytest.mark.parametrize("name", ["end", "idle", "answered"])
def test_the_rest_of_a_text_that_we_came_into_is_none(name: str) -> None:
    framing = {"end": Framing(end=ETX), "idle": Framing(idle=2.0), "answered": Framing(end=ETX, good=ACK, bad=NAK)}[
        name
    ]
    line = Line(framing, joins=True)
    line.wait(0.0)  # the channel asks when it is to be woken
    assert line.link.deadline() != 0.0
    line.wait(1.0).feed(b"half of it" + framing.end).wait(2.5).feed(b"whole" + framing.end).wait(2.5)
    assert line.texts == [b"whole"]
    assert line.incomplete == ([] if framing.bad else [b"half of it"])
    assert line.out == (NAK + ACK if framing.bad else b"")


def test_what_comes_the_moment_a_line_is_opened_began_before_it() -> None:
    line = Line(Framing(end=ETX), joins=True)
    assert line.link.deadline() == 0.0
    line.feed(b"rest" + ETX + b"whole" + ETX)
    assert (line.texts, line.incomplete) == ([b"whole"], [b"rest"])


@pytest.mark.parametrize(("transport", "whole"), [("tcp", (b"text",)), ("serial", ())])
def test_a_connection_begins_with_a_text_and_a_cable_does_not(transport: str, whole: tuple[bytes, ...]) -> None:
    layout = SimpleNamespace(at="", framing=Framing(end=ETX))
    (event,) = links(SimpleNamespace(transport=transport, max_message=100, text_layout=layout))().receive(
        b"text" + ETX, 1.0
    )
    assert isinstance(event, SessionEnd)
    assert event.completes == whole


@pytest.mark.parametrize("framing", [Framing(end=ETX), Framing(idle=2.0), PLAIN])
def test_a_text_after_a_long_silence_and_one_with_a_start_are_whole(framing: Framing) -> None:
    line = Line(framing, joins=True)
    line.wait(0.0)
    if not framing.start:
        line.wait(framing.idle or framing.timeout)
    line.feed(encode(framing, b"first")).wait(2.5).feed(encode(framing, b"second")).wait(2.5)
    assert (line.texts, line.incomplete) == ([b"first", b"second"], [])


@pytest.mark.parametrize("name", FRAMINGS)
@given(contents=st.lists(CONTENT, max_size=5), sizes=st.lists(st.integers(1, 9), min_size=1, max_size=5))
@settings(max_examples=examples(60))
def test_every_text_comes_once_however_it_was_cut(name: str, contents: list[bytes], sizes: list[int]) -> None:
    framing = FRAMINGS[name]
    line = Line(framing)
    for part in chunks(b"".join(encode(framing, content) for content in contents), sizes):
        line.feed(part)
    line.close()

    assert line.texts == [content_of(framing, content) for content in contents]
    assert (line.incomplete, line.faults) == ([], [])
    assert line.out == framing.good * len(contents)


ANY_BYTES = st.lists(
    st.sampled_from([STX, ETX, GS, ENQ, EOT, CR, LF, b"a", b"b8", b"--- Report", b"=" * 10]), max_size=40
)


@pytest.mark.parametrize("name", FRAMINGS)
@given(parts=ANY_BYTES, sizes=st.lists(st.integers(1, 9), min_size=1, max_size=5))
@settings(max_examples=examples(80))
def test_any_bytes_give_the_same_events_however_they_were_cut(name: str, parts: list[bytes], sizes: list[int]) -> None:
    data = b"".join(parts)
    at_once = Line(FRAMINGS[name]).feed(data).close()
    in_parts = Line(FRAMINGS[name])
    for part in chunks(data, sizes):
        in_parts.feed(part)
    in_parts.close()

    def seen(line: Line) -> list[object]:
        # The sample of a fault about noise is what came with it.
        return [event.kind if isinstance(event, LinkFault) else event for event in line.events]

    assert seen(in_parts) == seen(at_once)
    assert in_parts.out == at_once.out


@given(contents=st.lists(CONTENT, min_size=1, max_size=4), noise=st.lists(st.binary(max_size=20), max_size=5))
@settings(max_examples=examples(100))
def test_noise_between_texts_costs_none(contents: list[bytes], noise: list[bytes]) -> None:
    line = Line(PLAIN)
    for number, content in enumerate(contents):
        if number < len(noise):
            line.feed(noise[number].replace(STX, b""))
        line.feed(encode(PLAIN, content))
    assert line.texts == contents
    assert line.incomplete == []


def test_a_byte_that_changed_on_the_way_is_noticed_wherever_it_is() -> None:
    """Every byte of a text with every other value: nothing else than the text ever becomes a message."""
    content = b"\x1emtrsl|\x1eciS-1|\x1ertTSH|\x1eqn2.31|"
    sent = encode(ANSWERED, content)
    for at in range(len(sent)):
        for value in range(256):
            if value != sent[at]:
                line = Line(ANSWERED).feed(sent[:at] + bytes([value]) + sent[at + 1 :]).close()
                # A digit of the checksum in the other case, or a control character within it, is the same number.
                assert set(line.texts) <= ({content} if at >= len(sent) - 2 else set()), (at, value)


def test_a_text_that_cannot_be_kept_is_asked_for_again() -> None:
    line = Line(ANSWERED, keeps=False).feed(ENQ + encode(ANSWERED, b"one"))
    assert line.out == ACK + NAK
    line.keeps = True
    assert line.feed(encode(ANSWERED, b"one")).out == ACK + NAK + ACK


def test_the_answer_waits_until_the_text_is_kept() -> None:
    link = TextLink(ANSWERED)
    (frame,) = link.receive(encode(ANSWERED, b"one") + encode(ANSWERED, b"two"), 0.0)
    assert isinstance(frame, Frame)
    assert frame.completes == (b"one",)
    assert frame.raw == encode(ANSWERED, b"one")
    assert link.outgoing() == b""
    assert link.receive(b"more", 0.0) == []  # nothing beyond it is looked at
    link.committed(0.0)
    assert link.outgoing() == ACK
    (second,) = link.receive(b"", 0.0)
    assert isinstance(second, Frame)
    assert second.completes == (b"two",)


def test_a_wrong_checksum_is_refused_or_where_nobody_listens_evidence() -> None:
    sent = encode(ANSWERED, b"one").replace(b"one", b"two")
    answered = Line(ANSWERED).feed(sent)
    assert (answered.texts, answered.incomplete, answered.out) == ([], [], NAK)
    silent = Framing(start=STX, end=GS, checksum=SUM)
    printed = Line(silent).feed(sent)
    assert (printed.texts, printed.incomplete, printed.out) == ([], [b"two"], b"")
    assert answered.faults == printed.faults == ["bad-checksum"]


def test_of_a_text_without_content_and_with_a_wrong_checksum_nothing_is_kept() -> None:
    silent = Framing(start=STX, end=GS, checksum=SUM)
    line = Line(silent).feed(encode(silent, b"\r\n").replace(b"\r\n", b"  "))
    assert (line.texts, line.incomplete, line.faults) == ([], [], ["bad-checksum"])


def test_a_wrong_checksum_can_be_tolerated() -> None:
    warned = Framing(start=STX, end=GS, checksum=Checksum(end=True, check="warn"))
    line = Line(warned).feed(encode(warned, b"one").replace(b"one", b"two"))
    assert (line.texts, line.faults) == ([b"two"], ["bad-checksum"])


def test_checksums_are_read_in_either_case() -> None:
    sent = encode(ANSWERED, b"k")
    assert sent.endswith(b"88")
    content = next(
        c
        for c in (bytes([65 + n]) for n in range(26))
        if encode(ANSWERED, c)[-2:].upper() != encode(ANSWERED, c)[-2:].lower()
    )
    sent = encode(ANSWERED, content)
    assert Line(ANSWERED).feed(sent[:-2] + sent[-2:].lower()).texts == [content]


@pytest.mark.parametrize("rest", [STX + b"new" + ETX, STX])
def test_a_text_that_begins_anew_leaves_evidence(rest: bytes) -> None:
    line = Line(PLAIN).feed(STX + b"half" + rest)
    assert line.incomplete == [b"half"]
    assert line.texts == ([b"new"] if len(rest) > 1 else [])


BARS = Framing(start=b"--- Report ---", end=b"-----", between=b" \f")
CUT_OFF = {
    "bars that overlap": BARS,
    "bars and a checksum": Framing(start=b"--- Report ---", end=b"-----", checksum=SUM),
    **{name: framing for name, framing in FRAMINGS.items() if framing.start},
}


@pytest.mark.parametrize("at_once", [True, False])
@pytest.mark.parametrize("name", CUT_OFF)
def test_a_text_that_was_cut_off_anywhere_takes_nothing_from_the_next(name: str, at_once: bool) -> None:
    """Neither a byte of its start, which may look like the rest of the old one's end, nor the answer to its call."""
    framing = CUT_OFF[name]
    old, new = encode(framing, b"xold"), (ENQ if framing.replies else b"") + encode(framing, b"xnew")
    for cut in range(len(old)):
        line = Line(framing)
        for part in [old[:cut] + new] if at_once else chunks(old[:cut] + new, [1]):
            line.feed(part)
        wanted = content_of(framing, b"xnew")
        assert line.texts[-1:] == [wanted], cut
        assert line.texts[:-1] in ([], [content_of(framing, b"xold")]), cut
        if framing.replies:  # a call in a text is none for sure
            assert Line(framing).feed(old[:cut] + ENQ).out == (NAK if cut else ACK), cut
        assert line.feed(encode(framing, b"xnext")).texts[-1] == content_of(framing, b"xnext")
    whole = Line(framing).feed(encode(framing, b"xone") + encode(framing, b"xtwo"))
    assert (len(whole.texts), whole.faults) == (2, [])


def test_starts_of_one_character_overlap_with_nothing() -> None:
    framing = Framing(start=b"##", end=b"#!")
    assert Line(framing).feed(b"###five#!" + b"##six#!").texts == [b"#five", b"six"]


def test_a_call_within_a_text_says_that_the_sender_gave_it_up() -> None:
    line = Line(ANSWERED).feed(STX + b"half" + ENQ)
    assert (line.incomplete, line.out) == ([b"half"], NAK)
    line.out = b""
    assert line.feed(ENQ).out == ACK
    assert line.feed(encode(ANSWERED, b"whole")).texts == [b"whole"]


@pytest.mark.parametrize("kept", [True, False])
def test_an_answer_that_nobody_waits_for_any_more_is_not_given(kept: bool) -> None:
    """The store was slow, and the sender has called again: it would take the late answer for that to its call."""
    link = TextLink(ANSWERED)
    assert len(link.receive(encode(ANSWERED, b"one") + EOT + ENQ, 0.0)) == 1
    (link.committed if kept else link.failed)(20.0)
    assert link.outgoing() == b""
    assert link.receive(b"", 20.0) == []
    assert link.outgoing() == ACK


def test_a_byte_that_became_a_call_on_its_way_is_never_taken_for_one() -> None:
    """An E that lost a bit is an ENQ. The sender, who waits for the answer to its text, must not hear ACK."""
    sent = encode(ANSWERED, b"xyz")
    for at in range(1, len(sent)):
        line = Line(ANSWERED).feed(sent[:at] + ENQ + sent[at + 1 :])
        assert (line.texts, ACK in line.out) == ([], False), at


def test_a_text_that_takes_too_long_is_evidence_and_the_next_is_taken() -> None:
    line = Line(PLAIN).feed(STX + b"half").wait(59.0)
    assert line.events == []
    line.wait(1.0).feed(b" of it" + ETX)
    assert (line.incomplete, line.faults) == ([b"half"], ["text-timeout", "noise"])
    assert line.feed(encode(PLAIN, b"whole")).texts == [b"whole"]


def test_without_start_bytes_the_rest_of_a_late_text_is_no_text() -> None:
    line = Line(Framing(end=ETX)).feed(b"half").wait(60.0).feed(b" of it" + ETX + b"whole" + ETX)
    assert line.incomplete == [b"half", b" of it"]
    assert line.texts == [b"whole"]


def test_silence_can_end_a_text_and_a_closed_line_cannot() -> None:
    framing = Framing(idle=2.0)
    line = Line(framing).feed(b"\r\none\r").wait(1.0).feed(b"two\r")
    assert line.link.deadline() == 3.0
    assert line.wait(2.0).texts == [b"one\rtwo\r"]
    assert line.link.deadline() is None
    line.feed(b"three").close()
    assert (line.texts, line.incomplete) == ([b"one\rtwo\r"], [b"three"])


def test_bytes_behind_a_long_silence_are_a_text_of_their_own() -> None:
    """Also where nobody let the timer act in between."""
    line = Line(Framing(idle=2.0)).feed(b"one")
    line.now += 2.5
    line.feed(b"two").wait(2.0)
    assert line.texts == [b"one", b"two"]


@pytest.mark.parametrize("framing", [Framing(idle=2.0), Framing(end=ETX), Framing(end=ETX, good=ACK)])
def test_time_in_which_the_channel_kept_something_is_no_silence_of_the_sender(framing: Framing) -> None:
    """A store that fails for minutes: what follows stands in the buffers of the line, and is read then."""
    link = TextLink(framing)
    link.receive(b"one", 0.0)
    (first,) = link.receive(framing.end + b"two, be", 5.0)
    link.committed(90.0)
    events = [first, *link.receive(b"", 90.0), *link.receive(b"fore" + framing.end, 90.1), *link.tick(93.0)]
    assert [event.completes for event in events if isinstance(event, Frame | SessionEnd)] == [
        (b"one",),
        (b"two, before",),
    ]
    assert len(events) == 2


@pytest.mark.parametrize("ends", [b"\r", b"\n", b"\r\n"])
def test_lines_are_counted_by_any_end(ends: bytes) -> None:
    line = Line(Framing(lines=3)).feed(b"a" + ends + b"b" + ends + b"c" + ends + b"d" + ends)
    assert [text.split() for text in line.texts] == [[b"a", b"b", b"c"]]
    assert [text.split() for text in line.close().incomplete] == [[b"d"]]


def test_a_text_without_end_does_not_fill_the_memory() -> None:
    line = Line(PLAIN, max_message=100).feed(STX)
    for _ in range(100):
        line.feed(b"x" * 50)
        assert line.link.held <= 150
    assert line.incomplete == [b"x" * 100]
    assert line.faults[0] == "text-too-large"
    assert line.feed(encode(PLAIN, b"whole")).texts == [b"whole"]
    assert Line(PLAIN, max_message=100).feed(encode(PLAIN, b"x" * 101)).incomplete == [b"x" * 100]


def test_noise_is_said_once_and_then_now_and_then() -> None:
    line = Line(PLAIN)
    for _ in range(2 * NOISE_STEP):
        line.feed(b"?")
    assert line.faults == ["noise", "noise"]
    line.feed(encode(PLAIN, b"one") + b"?")
    assert line.faults == ["noise"] * 3


def test_an_empty_text_is_answered_and_no_message() -> None:
    line = Line(ANSWERED).feed(encode(ANSWERED, b"  "))
    assert (line.texts, line.out, line.faults) == ([], ACK, ["empty-text"])


@given(st.binary(max_size=300), st.sampled_from(sorted(FRAMINGS)))
@settings(max_examples=examples(300))
def test_whatever_comes_the_link_rests_when_the_line_is_closed(data: bytes, name: str) -> None:
    line = Line(FRAMINGS[name]).feed(data).close()
    assert line.link.held == 0
    assert line.link.deadline() is None


# -- the notation --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "data"),
    [
        ("<STX>", b"\x02"),
        ("--- x ---", b"--- x ---"),
        ("<CR><LF>", b"\r\n"),
        ("<0x1C>a<SP>", b"\x1ca "),
        ("a<b", b"a<b"),
    ],
)
def test_bytes_are_written_by_name_or_number(text: str, data: bytes) -> None:
    assert wire(text) == data


@pytest.mark.parametrize("text", ["<STXX>", "<ABC>", "µ", "\t"])
def test_what_is_no_byte_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="write"):
        wire(text)


def test_control_characters_are_shown_by_name() -> None:
    assert shown(b"\x02a\x1c\x7f") == "<STX>a<FS><DEL>"


@given(st.binary(max_size=20).map(lambda data: bytes(byte & 0x7F for byte in data)))
def test_what_is_shown_can_be_written(data: bytes) -> None:
    if b"<" not in data:
        assert wire(shown(data)) == data


@pytest.mark.parametrize(
    ("kind", "value"),
    [("sum", 0x93), ("negated-sum", 0x6D), ("xor", 0x31 ^ 0x32 ^ 0x30)],
    ids=["sum", "negated", "xor"],
)
def test_checksums(kind: str, value: int) -> None:
    assert CHECKSUMS[kind](b"120") == value


@pytest.mark.parametrize("name", [name for name, framing in FRAMINGS.items() if not framing.lines])
def test_what_is_encoded_is_what_analyzers_send(name: str) -> None:
    assert FRAMINGS[name].encode(b"text") == TextLink(FRAMINGS[name]).wrap(b"text") == encode(FRAMINGS[name], b"text")
