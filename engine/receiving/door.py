"""The first bytes of a connection over TCP: those of no analyzer end it, before its link has any of them. Pure.

    token target HTTP/1            a browser or a monitor; a page chooses the token (the method of its `fetch`)
    TLS hello                      a browser, or encryption that is on at the sender alone
    SSH-2.0                        a scanner
    ENQ ... STX                    a frame before our ACK, in the first read: its sender does not wait for answers

Empty lines and a header of the PROXY protocol may come before them.

A page that a person opens can have the browser send any bytes to any port behind a request line or a hello. So these
decide, and nothing behind them is read. Only the whole pattern decides. No first line of an analyzer is a request line:

- HL7 begins with VT or ``MSH|^~\\&|``, ASTM with ENQ, STX, EOT or ``H|\\^&|``: no token has a control character or a
  backslash.
- A text of words is one only where its third word begins with ``HTTP/`` and a digit, on its first line.

Bytes that may become a pattern wait for the next ones, for `HOLD_S` at most. Then the link gets them, and the
connection still ends where they become one. A text that a silence ends would grow by its neighbour while it waits. So
one word of it waits only where it is a method of HTTP, and more only where a path or an address follows.
"""

import re
from dataclasses import dataclass

from engine.model.link_events import LinkFault
from engine.model.texts.link_words import stranger_words

HOLD_S = 0.2
MAX_TARGET = 8192  # bytes without a space or a control character behind a method: no analyzer's text has so many
MAX_WORDS = 256  # ... and words of a text that become no request

_EARLY = "a frame before the answer to ENQ: another program, or an analyzer that needs `acks: none`"
_METHODS = (b"GET", b"HEAD", b"POST", b"PUT", b"PATCH", b"DELETE", b"OPTIONS", b"CONNECT", b"TRACE")
_TOKEN, _TARGET = rb"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,32}", rb"[^\x00-\x20\x7f]+"
_REQUEST = re.compile(rb"%s %s HTTP/[0-9]" % (_TOKEN, _TARGET))
_MAY_BE_REQUEST = re.compile(rb"(?:%s(?: (?:%s(?: (?:H(?:T(?:T(?:P/?)?)?)?)?)?)?)?)?\Z" % (_TOKEN, _TARGET))
_ADDRESSED = re.compile(rb"(?:%s) |%s (?:/|\*|[A-Za-z][A-Za-z0-9+.-]*:)" % (b"|".join(_METHODS), _TOKEN))
# A request that brings nothing, and is of no page: a monitor's.
_CHECK = re.compile(
    rb"(?:GET|HEAD|OPTIONS) /[\w./?=&%-]{0,128} HTTP/1\.[01]\r\n"
    rb"(?:(?!Origin|Referer|Cookie|Sec-|Upgrade|Content-|Transfer-|[^\r]*Mozilla)[^\r\n]+\r\n)*\r\n\Z",
    re.IGNORECASE,
)
_HELLO = re.compile(rb"\x16\x03[\x00-\x04]..\x01", re.DOTALL)  # handshake, version, length, client_hello
_SSH = re.compile(rb"SSH-[0-9]\.")
_MAY_BE_SSH = re.compile(rb"S(?:S(?:H(?:-[0-9]?)?)?)?\Z")
_MAY_BE_HELLO = re.compile(rb"\x16(?:\x03(?:[\x00-\x04].{0,2})?)?\Z", re.DOTALL)
_PROXY_LINE = re.compile(rb"PROXY (?:TCP[46]|UNKNOWN)[ -~]{0,92}(?:(\r\n)|\r?\Z)")
_PROXY_SIGNATURE, _PROXY_FIXED = b"\r\n\r\n\x00\r\nQUIT\n", 16  # and the bytes before its addresses
_EARLY_FRAME = re.compile(rb"\x05[^\x04\x05]*\x02")
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
    """Judges the first bytes of one connection.

    Attributes:
        open: an analyzer: nothing more is judged.
        holds: bytes wait for the next ones.
    """

    def __init__(self, opening: Opening) -> None:
        self._opening = opening
        self._first = b""  # all bytes so far
        self._given = 0  # of them the link has
        self.open = False
        self.holds = False

    def hear(self, data: bytes) -> LinkFault | None:
        """Judge the next bytes; a fault ends the connection."""
        first, self._first = not self._first, self._first + data
        said = _behind_headers(self._first)
        stranger = _is_stranger(said)
        if stranger:
            return LinkFault("stranger", stranger_words(said), fatal=True)
        if first and self._opening.frame_waits and _has_early_frame(data, blocks=self._opening.blocks):
            return LinkFault("early-frame", _EARLY, fatal=True)
        self.open = stranger is not None or len(self._first) > 2 * MAX_TARGET
        self.holds = not self.open and _waits(said)
        return None

    @property
    def is_check(self) -> bool:
        """Whether all that came is the bare check of a monitor over HTTP."""
        return _CHECK.match(_behind_headers(self._first)) is not None

    def release(self) -> bytes:
        """The bytes that the link has not had."""
        data, self._given, self.holds = self._first[self._given :], len(self._first), False
        return data


def _has_early_frame(first: bytes, *, blocks: bool) -> bool:
    return _EARLY_FRAME.search(_BLOCK.sub(b"", first) if blocks else first) is not None


def _behind_headers(first: bytes) -> bytes:
    """What follows empty lines and a header of the PROXY protocol; nothing until that is whole."""
    if first.startswith(_PROXY_SIGNATURE):
        return first[_PROXY_FIXED + int.from_bytes(first[14:_PROXY_FIXED]) :] if len(first) >= _PROXY_FIXED else b""
    if _PROXY_SIGNATURE.startswith(first):
        return b""
    rest = first.lstrip(b"\r\n")
    if (line := _PROXY_LINE.match(rest)) and not _REQUEST.match(rest):
        return rest[line.end() :].lstrip(b"\r\n") if line[1] else b""
    return rest


def _is_stranger(said: bytes) -> bool | None:
    """Whether another protocol than an analyzer's begins so; None: more bytes decide."""
    if said.startswith(b"\x16"):
        return True if _HELLO.match(said) else None if _MAY_BE_HELLO.match(said) else False
    if _SSH.match(said) or _REQUEST.match(said):
        return True
    if not _MAY_BE_REQUEST.match(said):
        return False
    addressed = _ADDRESSED.match(said) is not None
    return addressed if len(said) > (MAX_TARGET if addressed else MAX_WORDS) else None


def _waits(said: bytes) -> bool:
    """Whether what more bytes decide is kept from the link meanwhile."""
    return bool(
        said.startswith(b"\x16")
        or _ADDRESSED.match(said)
        or _MAY_BE_SSH.match(said)
        or (said and any(known.startswith(said) for known in _METHODS))
    )
