"""A session as a dialogue: the bytes of each side, frame by frame, and their faults. Pure.

10:02:11.310  in   frame 1 (expected 1), 47 bytes, ends in ETX, checksum 53 right
10:02:11.312  out  ACK
10:02:11.640  in   frame 2 (expected 2), 31 bytes, ends in ETX, checksum A1, computed 53: wrong
10:02:11.641  out  NAK
              --   bad-checksum: checksum A1, computed 53; number 2, expected 2
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from engine.diagnostics.lines.marks import Kind, Mark, Marks
from engine.model.texts.signs import name
from engine.store.operations.line_trace import LineEntry, LineWay

_WAYS = {LineWay.IN: "in", LineWay.OUT: "out"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One thing that one side sent, or (``--``) what the link said about it.

    Attributes:
        data: its bytes; the caller decides which of them a person may see.
        number, expected: of a frame, None where there is none.
        sum_given, sum_computed: of a frame; ``sum_given`` is empty where it brought none.
        good: of a frame, whether its checksum is right; None for other things.
    """

    at_us: int
    way: str
    what: str
    data: bytes = b""
    number: int | None = None
    expected: int | None = None
    sum_given: str = ""
    sum_computed: str = ""
    good: bool | None = None


def dialogue(entries: Iterable[LineEntry]) -> Iterator[Step]:
    """The steps of one session, in order."""
    cutter = Marks()
    numbers = _Numbers()
    at_us = 0
    for entry in entries:
        if entry.way is LineWay.IN:
            at_us = entry.at_us
            for mark in cutter.feed(entry.data):
                yield _heard(mark, entry.at_us, numbers)
            continue
        for mark in cutter.quiet():  # it was over when this was said about it
            yield _heard(mark, at_us, numbers)
        if entry.way is LineWay.ABOUT:
            yield Step(at_us=entry.at_us, way="--", what=entry.data.decode("utf-8", "replace"))
        else:
            yield from _said(entry, numbers)
    for mark in cutter.finish():
        yield _heard(mark, at_us, numbers)


class _Numbers:
    """Which frame number is due: 1 after ENQ, the next after each ACK."""

    def __init__(self) -> None:
        self.expected: int | None = None
        self._last: int | None = None

    def heard(self, mark: Mark) -> None:
        if mark.kind is Kind.ENQ:
            self.expected, self._last = 1, None
        elif mark.frame is not None:
            self._last = mark.frame.number

    def acknowledged(self) -> None:
        if self._last is not None:
            self.expected, self._last = (self._last + 1) % 8, None


def _heard(mark: Mark, at_us: int, numbers: _Numbers) -> Step:
    expected = numbers.expected
    numbers.heard(mark)
    way = _WAYS[LineWay.IN]
    size = f"{len(mark.data)} bytes"
    frame = mark.frame
    if frame is not None:
        number = "without a number" if frame.number is None else str(frame.number)
        due = "" if expected is None else f" (expected {expected})"
        end = "ETB" if frame.goes_on else "ETX"
        return Step(
            at_us=at_us,
            way=way,
            what=f"frame {number}{due}, {size}, ends in {end}, {frame.in_words()}",
            data=mark.data,
            number=frame.number,
            expected=expected,
            sum_given=frame.given.decode("ascii").upper(),
            sum_computed=f"{frame.computed:02X}",
            good=bool(frame.given) and int(frame.given, 16) == frame.computed,
        )
    if len(mark.data) == 1:
        return Step(at_us=at_us, way=way, what=name(mark.data[0]), data=mark.data)
    what = {
        Kind.BLOCK: f"block, {size}",
        Kind.PACKET: f"{size} between STX and ETX, without frame number",
        Kind.CUT: f"{size} of a frame or block without its end",
    }.get(mark.kind, f"{size} outside of every frame")
    return Step(at_us=at_us, way=way, what=what, data=mark.data)


def plain_size(data: bytes) -> str:
    """What is said of bytes that are sent and are no single sign."""
    return f"{len(data)} bytes"


def _said(entry: LineEntry, numbers: _Numbers) -> Iterator[Step]:
    if len(entry.data) > 8:
        yield Step(at_us=entry.at_us, way="out", what=plain_size(entry.data), data=entry.data)
        return
    for byte in entry.data:
        if byte == 0x06:
            numbers.acknowledged()
        yield Step(at_us=entry.at_us, way="out", what=name(byte), data=bytes([byte]))
