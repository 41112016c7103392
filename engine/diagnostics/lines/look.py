"""All observations on a line, and the sentences about them. Pure: the same bytes give the same words.

A sentence states the observation, then the remedy. It never quotes the content of a message: it names only protocols,
numbers of frames, message types and record letters.
"""

import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import groupby, pairwise
from typing import NamedTuple

from engine.diagnostics.lines.marks import CHANGED_LINE_ENDS, OTHER_SUMS, FrameSeen, Kind, Mark, Marks, Sum
from engine.diagnostics.lines.messages import AstmText, Hl7Message, astm_text, hl7_messages
from engine.diagnostics.lines.serial import LineSigns, signs, without_parity
from engine.mapping.trying.capture import CapturedBytes, Direction, received
from engine.model.tables import table_lines

KEEP_ALIVE = (Kind.ENQ, Kind.EOT)
_TELNET = re.compile(rb"\xff[\xfb-\xfe][\x00-\x31]")
_VIDAS = re.compile(rb"\x1emt[a-z]|\|\x1e[a-z]{2}")


@dataclass(frozen=True, slots=True)
class Remark:
    """One sentence.

    Attributes:
        key: its subject; the same key with another text replaces the earlier sentence.
        advice: what to do, or empty.
    """

    key: str
    text: str
    advice: str = ""

    def __str__(self) -> str:
        return f"{self.text}: {self.advice}" if self.advice else self.text


@dataclass(slots=True)
class Inspection:
    """The observations in all bytes so far, from the other side (or from both, where that is not known).

    Attributes:
        size: bytes.
        other: the bytes are of a protocol that has nothing to do with analyzers: ``tls``, ``http``, ``telnet``.
        keep_alives: ENQ and EOT with nothing between.
        resent: frames that came again, byte for byte.
        misnumbered: frames with another number than the one before asks for.
        zero_based: sessions whose first frame is number 0.
        answered: we have sent something.
        stray: bytes that belong to nothing.
        enq_every: seconds between one ENQ and the next, where only ENQs come.
    """

    size: int = 0
    line: LineSigns = field(default_factory=LineSigns)
    other: str = ""
    marks: list[Mark] = field(default_factory=list)
    counts: Counter[Kind] = field(default_factory=Counter)
    frames: list[FrameSeen] = field(default_factory=list)
    packets: list[Mark] = field(default_factory=list)
    blocks: list[Mark] = field(default_factory=list)
    lines: list[Mark] = field(default_factory=list)
    keep_alives: int = 0
    resent: int = 0
    misnumbered: int = 0
    zero_based: int = 0
    sessions: int = 0
    stray: int = 0
    both_ways: bool = False
    answered: bool = False
    enq_every: float = 0.0
    astm: AstmText = field(default_factory=AstmText)
    hl7: list[Hl7Message] = field(default_factory=list)
    content: bytes = b""

    @property
    def without_cr(self) -> bool:
        """Frames follow each other, and no record in them ends with CR; the sums of most say that none was lost."""
        sums = (Sum.RIGHT, *OTHER_SUMS)
        as_sent = sum(one.sum in sums for one in self.frames)
        line_ends = any(b"\r" in one.text or b"\n" in one.text for one in self.frames)
        return len(self.frames) > 1 and 2 * as_sent > len(self.frames) and not line_ends

    @property
    def sums(self) -> Counter[Sum]:
        return Counter(frame.sum for frame in self.frames)

    @property
    def bare(self) -> bool:
        """Messages without any framing."""
        return not self.frames and not self.blocks and bool(self.astm.headers or self.hl7)

    @property
    def remarks(self) -> list[Remark]:
        """The remarks, the most important first."""
        return list(_remarks(self))


def look(pieces: Sequence[CapturedBytes]) -> Inspection:
    """Look at what came over one line."""
    data = received(pieces)
    seen = Inspection(size=len(data), line=signs(data), other=_other(data))
    if seen.line.parity:
        data = without_parity(data)
    cutter = Marks()
    seen.marks = cutter.feed(data) + cutter.finish()
    seen.counts = Counter(mark.kind for mark in seen.marks)
    answers = seen.counts[Kind.ACK] + seen.counts[Kind.NAK]
    seen.both_ways = (
        all(piece.way is Direction.UNKNOWN for piece in pieces) and answers > 0 and seen.counts[Kind.FRAME] > 0
    )
    seen.answered = any(piece.way is Direction.US for piece in pieces)
    seen.frames = [mark.frame for mark in seen.marks if mark.frame is not None]
    seen.packets = [mark for mark in seen.marks if mark.kind is Kind.PACKET]
    seen.blocks = [mark for mark in seen.marks if mark.kind is Kind.BLOCK]
    seen.lines = [mark for mark in seen.marks if mark.kind is Kind.TEXT]
    _sessions(seen)
    _read_content(seen)
    seen.enq_every = _rhythm(seen, pieces)
    if seen.line.garbage and (seen.sums[Sum.RIGHT] or seen.hl7 or seen.astm.headers):
        seen.line = LineSigns()  # a name in Cyrillic letters, say, in a message that is sound
    return seen


class _Other(NamedTuple):
    """What is no message of an analyzer.

    Attributes:
        starts: whether bytes begin like it.
    """

    starts: Callable[[bytes], object]
    remark: Remark


_OTHERS = {
    kind: _Other(re.compile(pattern.encode()).match, Remark("other", *texts))
    for kind, pattern, *texts in (line.split("\t") for line in table_lines(__file__, "others.txt"))
}


def _other(data: bytes) -> str:
    for kind, other in _OTHERS.items():
        if other.starts(data):
            return kind
    return "telnet" if len(_TELNET.findall(data)) * 3 * 2 > len(data) > 0 else ""


def _sessions(seen: Inspection) -> None:
    """Count the events between one ENQ and the next, and check the numbers of the frames."""
    expected: int | None = None
    last: FrameSeen | None = None
    after_enq = False
    for before, mark in pairwise([None, *seen.marks]):
        if mark is None:
            continue
        if mark.kind is Kind.ENQ:
            expected, last, after_enq = 1, None, True
        elif mark.kind is Kind.EOT:
            seen.keep_alives += before is not None and before.kind is Kind.ENQ
            expected, last = None, None
        elif mark.frame is not None:
            frame = mark.frame
            seen.sessions += last is None
            if last is not None and frame.body == last.body:
                seen.resent += 1
            elif frame.number is not None:
                if after_enq and frame.number == 0:
                    seen.zero_based += 1
                elif expected is not None and frame.number != expected:
                    seen.misnumbered += 1
                expected = (frame.number + 1) % 8
            last, after_enq = frame, False


def _read_content(seen: Inspection) -> None:
    """Take what the framing carries for what it is: records, segments, or text of another kind."""
    framed = _text_of_frames(seen) if seen.frames else b""
    bare = b"".join(mark.data for mark in seen.lines)
    if seen.blocks:
        seen.content = b"\r".join(mark.content for mark in seen.blocks)
    elif framed:
        seen.content = framed
    else:
        seen.content = b"".join(mark.content for mark in seen.packets) or bare
    whole = [mark.content for mark in seen.blocks] or [seen.content]
    seen.hl7 = [message for text in whole for message in hl7_messages(text)]
    if not seen.hl7:
        seen.astm = astm_text(seen.content)
    if seen.frames or seen.blocks or seen.packets:
        seen.stray = sum(len(mark.content) for mark in seen.lines)


def _text_of_frames(seen: Inspection) -> bytes:
    """The text of the frames without repeats, a line end between two sessions."""
    parts: list[bytes] = []
    last: FrameSeen | None = None
    for mark in seen.marks:
        if mark.kind in KEEP_ALIVE:
            last = None
            parts.append(b"\r")
        elif mark.frame is not None:
            if last is None or last.body != mark.frame.body:
                mended = mark.frame.mended
                parts.append(mended[1:-1] if mended[:1].isdigit() else mended[:-1])
                if seen.without_cr and not mark.frame.goes_on:
                    parts.append(b"\r")
            last = mark.frame
    return b"".join(parts)


def _rhythm(seen: Inspection, pieces: Sequence[CapturedBytes]) -> float:
    """Seconds between two ENQs, the shortest wait, where nothing but ENQ and EOT comes."""
    if set(seen.counts) - set(KEEP_ALIVE) or seen.counts[Kind.ENQ] < 2:
        return 0.0
    times = [piece.at_us for piece in pieces if piece.way is not Direction.US and piece.at_us and b"\x05" in piece.data]
    waits = [(later - sooner) / 1_000_000 for sooner, later in pairwise(times)]
    return min(waits, default=0.0)


# -- sentences -----------------------------------------------------------------------------------------------------


def _remarks(seen: Inspection) -> Iterator[Remark]:
    if seen.other:
        yield _OTHERS[seen.other].remark
        return
    if seen.line.parity or seen.line.garbage:
        yield from _about_line(seen)
    if seen.line.garbage:
        return
    yield from _about_asking(seen)
    if seen.frames:
        yield from _about_frames(seen)
    if seen.blocks:
        yield from _about_blocks(seen)
    if seen.packets:
        yield from _about_packets(seen)
    yield from _about_cut(seen)
    yield from _about_content(seen)
    yield from _about_letters(seen)
    if seen.both_ways:
        yield Remark(
            "both-ways", "there are ACK or NAK between the frames, so this recording holds both sides of the line"
        )
    if seen.stray:
        yield Remark("stray", f"{_count(seen.stray, 'byte')} outside of every frame and block")


def _about_line(seen: Inspection) -> Iterator[Remark]:
    line = seen.line
    first = "ENQ, then " if seen.counts[Kind.ENQ] and seen.marks and seen.marks[0].kind is Kind.ENQ else ""
    if line.parity == "mark":
        yield Remark(
            "line", f"{first}7-bit data with mark parity (bit 7 is set in every byte)", "set bytesize 7, parity mark"
        )
    elif line.parity:
        yield Remark("line", f"{first}7-bit {line.parity} parity data", f"set bytesize 7, parity {line.parity}")
    elif line.slower:
        yield Remark(
            "line",
            f"each bit is seen {line.slower} times: the sender is {line.slower} times slower than this port",
            f"divide baud by {line.slower} (9600 -> {9600 // line.slower})",
        )
    else:
        yield Remark(
            "line",
            f"{seen.size} bytes, and they are no text: a serial line at another speed looks like this",
            "try another baud (9600, 19200, 38400, 4800, 2400, 1200, 57600, 115200), then bytesize and parity",
        )


def _about_asking(seen: Inspection) -> Iterator[Remark]:
    enqs = seen.counts[Kind.ENQ]
    if seen.frames or not enqs:
        if seen.counts[Kind.EOT] and len(seen.counts) == 1:
            yield Remark("eot", "EOT alone: an analyzer that gives up, or clears the line after a start")
        return
    if seen.keep_alives and seen.keep_alives == enqs:
        yield Remark("keep-alive", "ENQ, then EOT with nothing between: a keep-alive, or a sender that got no answer")
        return
    if seen.answered:
        yield Remark("enq", "ENQ: the analyzer asks to send (ASTM E1381)")
        return
    every = f" every {seen.enq_every:.0f} s" if seen.enq_every >= 1 else ""
    yield Remark(
        "enq",
        f"ENQ{every}: the analyzer asks to send (ASTM E1381) and says nothing more before it gets ACK",
        "give it a channel of kind astm (on a serial line: astm-serial), or listen again with --answer --save FILE",
    )


def _about_frames(seen: Inspection) -> Iterator[Remark]:
    frames, sums = seen.frames, seen.sums
    good = sums[Sum.RIGHT]
    judged = "all checksums right" if good == len(frames) else f"{good} with the right checksum"
    numbers = "no frame number" if all(frame.number is None for frame in frames) else ""
    parts = [f"{_count(len(frames), 'frame')} of ASTM E1381", judged, numbers]
    yield Remark("frames", ", ".join(filter(None, parts)))
    yield from _about_sums(seen)
    if seen.without_cr:
        yield Remark("record-end", "no record ends with CR", "record_end: etx")
    if not any(b"\n" in frame.trailer for frame in frames):
        ends = "CR" if any(frame.trailer for frame in frames) else "nothing"
        yield Remark("trailer", f"after the checksum comes {ends} instead of CR LF; that is tolerated")
    elif not any(b"\r" in frame.trailer for frame in frames):
        yield Remark(
            "trailer", "after the checksum comes LF instead of CR LF; a program that stored it may have cut it"
        )
    if not seen.counts[Kind.ENQ]:
        yield Remark(
            "no-enq",
            "no ENQ before the first frame",
            "if the analyzer itself sends none, and not just this recording lacks it: framing: enq-less",
        )
    if seen.zero_based:
        yield Remark("numbers", "frame numbers begin with 0 instead of 1", "frame_numbers: ignore")
    elif seen.misnumbered:
        yield Remark(
            "numbers",
            f"{_count(seen.misnumbered, 'frame')} under a number that is not the next one",
            "if every session has that: frame_numbers: warn",
        )
    if seen.resent:
        yield Remark("resent", f"{_count(seen.resent, 'frame')} sent again: after a NAK, or an ACK that got lost")
    if seen.keep_alives:
        yield Remark("keep-alive", f"{_count(seen.keep_alives, 'keep-alive')}: ENQ and EOT with nothing between")
    longest = max(len(frame.body) for frame in frames)
    if longest > 64_000:
        yield Remark("long", f"the longest frame has {longest} bytes", f"max_frame: {longest + 1000}")


def _about_sums(seen: Inspection) -> Iterator[Remark]:
    sums, count = seen.sums, len(seen.frames)
    for kind in CHANGED_LINE_ENDS:
        if sums[kind]:
            yield Remark(
                "line-ends",
                f"{_count(sums[kind], 'checksum')}: {kind.value}",
                "the program or device server between has changed line ends; make it send bytes as they come",
            )
    for kind in OTHER_SUMS:
        if sums[kind] >= 2 and sums[kind] + sums[Sum.RIGHT] == count:
            yield Remark("sums", f"{_count(sums[kind], 'checksum')} by another rule: {kind.value}", "checksum: ignore")
            return
    if sums[Sum.MISSING]:
        yield Remark("sums", f"{_count(sums[Sum.MISSING], 'frame')} without a checksum", "checksum: ignore")
    wrong = sum(sums[kind] for kind in (Sum.WRONG, *OTHER_SUMS))
    if wrong:
        advice = (
            "noise, or a wrong setting of the line"
            if wrong < count
            else "checksum: warn shows whether all is well otherwise"
        )
        yield Remark("sums", f"{_count(wrong, 'wrong checksum')} in {_count(count, 'frame')}", advice)


def _about_blocks(seen: Inspection) -> Iterator[Remark]:
    ends = {mark.trailer for mark in seen.blocks}
    yield Remark("blocks", f"{_count(len(seen.blocks), 'MLLP block')} (VT ... FS)")
    if ends != {b"\r"}:
        other = "nothing" if b"" in ends else "LF"
        yield Remark("block-ends", f"after FS comes {other} instead of CR; that is tolerated")


def _about_packets(seen: Inspection) -> Iterator[Remark]:
    if any(_VIDAS.search(mark.content) for mark in seen.packets):
        yield Remark(
            "packets",
            "fields led by RS with two-letter tags (mt, pi, rt): the bioMerieux interface of mini VIDAS and VITEK",
            "a channel with a tagged text format",
        )
    elif seen.astm.headers:
        yield Remark("packets", "records between STX and ETX without frame number and checksum", "answer_stx: true")
    else:
        yield Remark(
            "packets",
            f"{_count(len(seen.packets), 'text')} between STX and ETX without frame number and checksum: printer text, "
            "or a format of its own",
            "a channel with a described text format",
        )


def _about_cut(seen: Inspection) -> Iterator[Remark]:
    cut = [mark for mark in seen.marks if mark.kind is Kind.CUT]
    if cut:
        what = "unfinished frame" if cut[-1].data[:1] == b"\x02" else "unfinished block"
        yield Remark("cut", f"{_count(len(cut), what)}: cut off, or its rest has not come yet")


def _about_content(seen: Inspection) -> Iterator[Remark]:
    where = "" if not seen.bare else " without any framing"
    if seen.hl7:
        kinds = Counter(f"{one.type or 'a message without type'} {one.version}".strip() for one in seen.hl7)
        listed = ", ".join(f"{n} x {kind}" if n > 1 else kind for kind, n in kinds.items())
        yield Remark("content", f"HL7 v2{where}: {listed}")
        if seen.bare and not any(mark.data.find(b"\x1c") >= 0 for mark in seen.lines):
            yield Remark(
                "unframed",
                "no VT before and no FS behind the messages",
                "if the analyzer itself sends none, and not just this recording lacks them: start_without_vt: true and "
                "end_by_idle: 2s",
            )
        if any(one.is_query for one in seen.hl7):
            yield _QUERY
    elif seen.astm.headers:
        yield Remark("content", f"ASTM E1394 records{where}: {_shape(seen.astm.types)}")
        if seen.bare and not seen.packets:
            yield Remark(
                "unframed",
                "no STX and no checksum around the records",
                "if the analyzer itself sends none, and not just this recording lacks them: framing: none",
            )
        if seen.astm.doubled_escape:
            yield Remark("delimiters", "the H record doubles its backslash; that is tolerated")
        if seen.astm.unfinished:
            yield Remark(
                "no-l",
                f"{seen.astm.unfinished} of {_count(seen.astm.headers, 'message')} without an L record at the end",
                "if no session ever has one: end: eot",
            )
        if "Q" in seen.astm.types:
            yield _QUERY
    elif seen.frames:
        yield Remark("content", "the frames hold no E1394 records", "a format of its own: it needs a driver")
    elif seen.lines and not seen.packets and not seen.blocks:
        yield Remark(
            "content",
            f"{_count(len(seen.lines), 'line')} of text without any framing: a printer port, or a format of its own",
            "a channel with a described text format",
        )


_QUERY = Remark(
    "query",
    "it asks the host for orders (host query)",
    "give its channel orders: and the codes of its tests (docs/questions.md)",
)


def _about_letters(seen: Inspection) -> Iterator[Remark]:
    if not any(byte >= 0x80 for byte in seen.content):
        return
    try:
        seen.content.decode("utf-8")
    except UnicodeDecodeError:
        yield Remark(
            "letters", "bytes above 7F that are no UTF-8: an 8-bit character set", "charset: [cp1252] is the usual one"
        )
    else:
        yield Remark("letters", "letters beyond ASCII, as UTF-8")


def _shape(types: Sequence[str]) -> str:
    """``H P O 20xR L``: record letters in order, runs counted, cut where it gets long."""
    runs = [(letter, len(list(group))) for letter, group in groupby(types)]
    listed = [f"{n}x{letter}" if n > 1 else letter for letter, n in runs[:16]]
    return " ".join(listed) + (" ..." if len(runs) > 16 else "")


def _count(n: int, what: str) -> str:
    return f"{n} {what}{'' if n == 1 else 's'}"
