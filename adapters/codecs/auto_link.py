"""A link for a port where either HL7 v2 (MLLP) or ASTM (E1381) may come: what comes first decides. Pure.

    ENQ, STX, or H and two delimiters      ASTM E1381
    VT, or MSH, FHS, BHS                   MLLP

The decision is one connection's own. It is taken anew only while nothing is under way, so that a stray ENQ at plugging
in costs nothing: bytes of a session or block that has begun never reach the other link. What decides nothing (answers,
EOT, NUL, line ends) is skipped; any other bytes are noise: reported, counted, and bounded.
"""

import re
from collections.abc import Callable, Iterable
from typing import Protocol

from adapters.codecs import astm_link, mllp
from engine.message import LinkEvent, LinkFault, SessionEnd

MAX_NOISE = 64 * 1024  # bytes between two messages that cost the connection
SAMPLE_BYTES = 64
_PUNCTUATION = rb"[!-/:-@\\[-`{-~]"
_ASTM = re.compile(rb"[\x02\x05]|[Hh]" + _PUNCTUATION + _PUNCTUATION)
_HL7 = re.compile(rb"\x0b|[MFB](?:SH|HS)" + _PUNCTUATION)
_START = re.compile(_ASTM.pattern + rb"|" + _HL7.pattern)
_MAY_START = re.compile(rb"(?:[Hh]" + _PUNCTUATION + rb"?|[MFB][SH]{0,2})\Z")
_SKIPPED = b"\x00\r\n\x04\x06\x15"

AnyLink = mllp.MllpLink | astm_link.AstmReceiver


class Settings(mllp.Settings, astm_link.Settings, Protocol):
    """What a channel's ``source:`` says about both links."""


def links(source: Settings) -> "Callable[[], AutoLink]":
    """What makes a link for each connection of a channel."""
    new_mllp, new_astm = mllp.links(source), astm_link.links(source)
    return lambda: AutoLink(new_mllp, new_astm)


def assemble(frames: Iterable[bytes], *, max_message: int = astm_link.AstmOptions().max_message) -> SessionEnd:
    """What the committed frames of a session amount to: only ASTM has frames."""
    return astm_link.assemble(frames, max_message=max_message)


class AutoLink:
    """One connection's link (`engine.ports.Link`), once it is known which of the two it is."""

    def __init__(self, new_mllp: Callable[[], mllp.MllpLink], new_astm: Callable[[], astm_link.AstmReceiver]) -> None:
        self._make: dict[str, Callable[[], AnyLink]] = {"mllp": new_mllp, "e1381": new_astm}
        self._made: dict[str, AnyLink] = {}
        self._link: AnyLink | None = None
        self._seen = b""  # at the end of what came: what may become a start
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
        return self._link.held if self._link is not None else 0

    def receive(self, data: bytes, now: float) -> list[LinkEvent]:
        if self._link is not None and (not data or not self._link.resting):
            return self._link.receive(data, now)
        if self._dead or not data:
            return []
        data, self._seen = self._seen + data, b""
        start = _START.search(data)
        if start is None:
            rest = _MAY_START.search(data)
            self._seen = rest[0] if rest else b""
            return list(self._skip(data[: len(data) - len(self._seen)]))
        events = self._skip(data[: start.start()])
        if any(event.fatal for event in events):
            return list(events)
        self._noise = 0
        self._decide("mllp" if _HL7.match(start[0]) else "e1381")
        assert self._link is not None
        return [*events, *self._link.receive(data[start.start() :], now)]

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
