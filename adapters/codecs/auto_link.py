"""A link for a port where either HL7 v2 (MLLP) or ASTM (E1381) may come: the first bytes decide. Pure.

    ENQ, STX, or H and two delimiters      ASTM E1381
    VT, or MSH, FHS, BHS                   MLLP

Each connection decides for itself. It decides again only between sessions and blocks: bytes of one that has begun never
reach the other link. A session with nothing but its ENQ does not count as begun when a block comes, so a stray ENQ at
plugging in does no harm. Bytes that arrive together are cut where one protocol may end (EOT, FS CR) or the other begin
(VT): an HL7 message after an EOT must not be searched for an H record. Bytes that decide nothing (answers, EOT, NUL,
line ends) are skipped. All other bytes are noise: reported, counted, and bounded.
"""

import re
from collections.abc import Callable

from adapters.codecs.astm import link as astm_link
from adapters.codecs.hl7v2 import mllp
from engine.model.link_events import LinkEvent, LinkFault

MAX_NOISE = 64 * 1024  # bytes between two messages that cost the connection
SAMPLE_BYTES = 64
_PUNCTUATION = rb"[!-/:-@\\[-`{-~]"
_ASTM = re.compile(rb"[\x02\x05]|[Hh]" + _PUNCTUATION + _PUNCTUATION)
_HL7 = re.compile(rb"\x0b|[MFB](?:SH|HS)" + _PUNCTUATION)
_START = re.compile(_ASTM.pattern + rb"|" + _HL7.pattern)
_MAY_START = re.compile(rb"(?:[Hh]" + _PUNCTUATION + rb"?|[MFB][SH]{0,2})\Z")
_EOT, _VT, _BLOCK_END = b"\x04", b"\x0b", b"\x1c\r"
_ASTM_CUT = re.compile(b"[" + _EOT + _VT + b"]")
_SKIPPED = b"\x00\r\n\x04\x06\x15"

AnyLink = mllp.MllpLink | astm_link.AstmReceiver


def links(source: object) -> "Callable[[], AutoLink]":
    """Return the factory that makes a link for each connection of a channel."""
    new_mllp, new_astm = mllp.links(source), astm_link.links(source)
    return lambda: AutoLink(new_mllp, new_astm)


assemble = astm_link.assemble  # only ASTM has frames


class AutoLink:
    """One connection's link (`engine.model.ports.Link`), once it is known which of the two it is."""

    start, may_start = _START, _MAY_START

    def __init__(self, new_mllp: Callable[[], mllp.MllpLink], new_astm: Callable[[], astm_link.AstmReceiver]) -> None:
        self._make: dict[str, Callable[[], AnyLink]] = {"mllp": new_mllp, "e1381": new_astm}
        self._made: dict[str, AnyLink] = {}
        self._link: AnyLink | None = None
        self._seen = b""  # bytes at the end that may become a start
        self._behind = b""  # bytes that the link has not had yet
        self._noise = 0
        self._dead = False
        self.decided = ""

    @property
    def traced(self) -> bool:
        return self._link is None or self._link.traced

    @property
    def resting(self) -> bool:
        return self._link is None or self._link.resting

    @property
    def held(self) -> int:
        return len(self._behind) + (self._link.held if self._link is not None else 0)

    def receive(self, data: bytes, now: float) -> list[LinkEvent]:
        events: list[LinkEvent] = []
        if self._behind and self._link is not None and not self._link.resting:
            events = self._link.receive(b"", now)  # what it had when it was cut off from these
        data, self._behind = self._behind + data, b""
        if events:
            self._behind = data
            return events
        if not data:
            return self._link.receive(b"", now) if self._link is not None else []
        at = 0
        while at < len(data) and not events:
            if data[at] == _VT[0] and isinstance(self._link, astm_link.AstmReceiver) and self._link.blank:
                self._link.closed()  # the ENQ was noise
            if self._link is None or self._link.resting:
                data, at, events = self._begin(data, at)
            if at < len(data) and not events and self._link is not None:
                end = self._cut(data, at)
                events, at = self._link.receive(data[at:end], now), end
        self._behind = data[at:]
        return events

    def _begin(self, data: bytes, at: int) -> tuple[bytes, int, list[LinkEvent]]:
        """Look from ``at`` for what begins next: bytes, where in them the link that this decides on goes on, faults."""
        if self._dead:
            return b"", 0, []
        if self._seen:
            data, at, self._seen = self._seen + data[at:], 0, b""
        start = self.start.search(data, at)
        if start is None:
            rest = self.may_start.search(data, at)
            self._seen = rest[0] if rest else b""
            return b"", 0, [*self._skip(data[at : len(data) - len(self._seen)])]
        faults = self._skip(data[at : start.start()])
        if any(fault.fatal for fault in faults):
            return b"", 0, [*faults]
        self._noise = 0
        self._decide("mllp" if _HL7.match(start[0]) else "e1381")
        return data, start.start(), [*faults]

    def _cut(self, data: bytes, at: int) -> int:
        """The end of the part of ``data`` for the current link: where it may come to rest, decide again after it."""
        if self.decided == "mllp":
            if data[at] == _BLOCK_END[1]:  # perhaps behind an FS that came before
                return at + 1
            end = data.find(_BLOCK_END, at)
            return end + len(_BLOCK_END) if end >= 0 else len(data)
        cut = _ASTM_CUT.search(data, at + (data[at] == _VT[0]))
        if cut is None:
            return len(data)
        return cut.end() if cut[0] == _EOT else cut.start()

    def committed(self, now: float) -> None:
        if self._link is not None:
            self._link.committed(now)

    def failed(self, now: float) -> None:
        if self._link is not None:
            self._link.failed(now)

    def outgoing(self) -> bytes:
        return self._link.outgoing() if self._link is not None else b""

    def deadline(self) -> float | None:
        return self._link.deadline() if self._link is not None else None

    def tick(self, now: float) -> list[LinkEvent]:
        return self._link.tick(now) if self._link is not None else []

    def closed(self) -> list[LinkEvent]:
        return self._link.closed() if self._link is not None else []

    def wrap(self, payload: bytes) -> bytes:
        return self._link.wrap(payload) if self._link is not None else b""

    def _decide(self, kind: str) -> None:
        if kind not in self._made:
            self._made[kind] = self._make[kind]()
        self._link = self._made[kind]
        self.decided = kind

    def _skip(self, data: bytes) -> list[LinkFault]:
        noise = data.strip(_SKIPPED)
        if not noise:
            return []
        self._noise += len(noise)
        self._dead = self._noise > MAX_NOISE
        detail = f"{len(noise)} bytes that begin neither ASTM nor HL7, {self._noise} since the last message"
        return [LinkFault("noise", detail, noise[:SAMPLE_BYTES], fatal=self._dead)]
