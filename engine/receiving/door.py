"""The first bytes of a connection over TCP: those of no analyzer end it, before its link has any of them. Pure.

    GET|POST|... target HTTP/1.    a browser or a monitor
    TLS hello                      a browser, or encryption that is on at the sender alone
    SSH-2.0                        a scanner
    ENQ ... STX                    a frame before our ACK, in the first read: its sender does not wait for answers

A page that a person opens can have the browser send any bytes to any port behind a request line or a hello. So these
decide, and nothing behind them is read. Only the whole pattern decides: a text of an analyzer may begin with *GET*.
Bytes that may become a pattern wait for the next ones, for `HOLD_S` at most. Then the link gets them, and the
connection still ends where they become one.
"""

import re
from dataclasses import dataclass

from engine.model.link_events import LinkFault
from engine.receiving.link_words import stranger_words

HOLD_S = 0.2
MAX_TARGET = 8192  # bytes without a space or a control character behind a method: no analyzer's text has so many

_EARLY = "a frame before the answer to ENQ: another program, or an analyzer that needs `acks: none`"
_METHODS = (b"GET", b"HEAD", b"POST", b"PUT", b"PATCH", b"DELETE", b"OPTIONS", b"CONNECT", b"TRACE")
_VERSION = b"HTTP/1."
_NO_TARGET = re.compile(rb"[\x00-\x1f\x7f]")
_HELLO = re.compile(rb"\x16\x03[\x00-\x04]..\x01", re.DOTALL)  # handshake, version, length, client_hello
_SSH = re.compile(rb"SSH-[0-9]\.")
_MAY_BE_SSH = re.compile(rb"S(?:S(?:H(?:-[0-9]?)?)?)?\Z")
_MAY_BE_HELLO = re.compile(rb"\x16(?:\x03(?:[\x00-\x04].{0,2})?)?\Z", re.DOTALL)
_BLOCK = re.compile(rb"\x0b.*?(?:\x1c\r|\Z)", re.DOTALL)


@dataclass(frozen=True, slots=True, kw_only=True)
class Opening:
    """What else the first bytes of a channel's connections may not be.

    Attributes:
        frame_waits: its senders send a frame only after our ACK to their ENQ.
        blocks: MLLP blocks, whose content is no frame, may come instead.
    """

    frame_waits: bool = False
    blocks: bool = False


class Door:
    """Judges the first bytes of one connection."""

    def __init__(self, opening: Opening) -> None:
        self._opening = opening
        self._first = b""  # all bytes so far
        self._given = 0  # of them the link has
        self.open = False  # an analyzer: nothing more is judged

    @property
    def holds(self) -> bool:
        """Bytes wait for the next ones."""
        return len(self._first) > self._given

    def hear(self, data: bytes) -> LinkFault | None:
        """Judge the next bytes; a fault ends the connection."""
        first, self._first = not self._first, self._first + data
        stranger = _is_stranger(self._first)
        if stranger:
            return LinkFault("stranger", stranger_words(self._first), fatal=True)
        if first and self._opening.frame_waits and _has_early_frame(data, blocks=self._opening.blocks):
            return LinkFault("early-frame", _EARLY, fatal=True)
        self.open = stranger is not None
        return None

    def release(self) -> bytes:
        """The bytes that the link has not had."""
        data, self._given = self._first[self._given :], len(self._first)
        return data


def _has_early_frame(first: bytes, *, blocks: bool) -> bool:
    rest = _BLOCK.sub(b"", first) if blocks else first
    return b"\x02" in rest.partition(b"\x05")[2]


def _is_stranger(first: bytes) -> bool | None:
    """Whether another protocol than an analyzer's begins so; None: more bytes decide."""
    if first.startswith(b"\x16"):
        return True if _HELLO.match(first) else None if _MAY_BE_HELLO.match(first) else False
    if first.startswith(b"S"):
        return True if _SSH.match(first) else None if _MAY_BE_SSH.match(first) else False
    method, space, rest = first.partition(b" ")
    if not space:
        return None if any(known.startswith(first) for known in _METHODS) else False
    target, space, version = rest.partition(b" ")
    if method not in _METHODS or _NO_TARGET.search(target) or (space and not target):
        return False
    if not space:
        return True if len(target) > MAX_TARGET else None
    return True if version.startswith(_VERSION) else None if _VERSION.startswith(version) else False
