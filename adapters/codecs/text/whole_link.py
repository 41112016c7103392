"""The link of files: each file is one complete stream, read in one piece. Pure.

    bytes of a file -> Block          ACK once all messages in it are durable: the file may be put away
                       LinkFault      NAK: the file is no whole message, a person has to look at it

Files are often captures of a line: MLLP blocks and E1381 frames in them are taken out. HL7 v2 and CSV have no mark
that says that a file is whole, so that a transport has to know; ASTM has one, its L record, and a file whose last
message is without it is refused: the rest of it may be on its way.
"""

from collections.abc import Callable
from typing import Protocol

from adapters.codecs.astm import capture as astm_capture
from adapters.codecs.astm import messages as astm_messages
from adapters.codecs.hl7v2 import mllp
from engine.model.errors import ContentError
from engine.model.link_events import Block, LinkEvent, LinkFault, SessionEnd

ACK, NAK = b"\x06", b"\x15"
BLANKS = b"\xef\xbb\xbf\0\t\n\r\x1a "
SAMPLE_BYTES = 64


class Settings(Protocol):
    """The settings of a channel's ``source:`` for the content of its files."""

    format: str
    transport: str
    max_message: int


def links(source: Settings) -> "Callable[[], WholeLink]":
    """Return the factory that makes a link for each file of a channel."""
    if source.transport == "kafka":  # each record is one message, whatever is in it
        return lambda: WholeLink("", source.max_message)
    return lambda: WholeLink(source.format)


class WholeLink:
    """The link of one file (`engine.model.ports.Link`)."""

    held = 0  # nothing is waited for

    def __init__(self, content: str, max_message: int = 0) -> None:
        """``max_message``: a longer one is no message, and its beginning is kept; 0: the transport has looked."""
        self._content = content
        self._max = max_message
        self._blocks = 0
        self._out = b""

    def receive(self, data: bytes, now: float) -> list[LinkEvent]:
        """The events in ``data``, the whole content of a file."""
        if not data:
            return []
        if 0 < self._max < len(data):
            self._out = ACK
            return [SessionEnd("closed", incomplete=data, too_large=True)]
        blocks = self._unframed(data)
        if not blocks:
            self._out = NAK
            return [LinkFault("not-whole", "a file without a whole message", data[:SAMPLE_BYTES])]
        self._blocks = len(blocks)
        return [Block(block) for block in blocks]

    def committed(self, now: float) -> None:
        """The next block is durable; the last of them answers for the file."""
        self._blocks -= 1
        if self._blocks == 0:
            self._out = ACK

    def failed(self, now: float) -> None:
        """Nothing to say: the file stays where it is, and is read again."""

    def outgoing(self) -> bytes:
        out, self._out = self._out, b""
        return out

    def deadline(self) -> float | None:
        return None

    def tick(self, now: float) -> list[LinkEvent]:
        return []

    def closed(self) -> list[LinkEvent]:
        return []

    def wrap(self, payload: bytes) -> bytes:
        return payload

    def _unframed(self, data: bytes) -> list[bytes]:
        """The content of the file without the framing of a line; nothing where it is not whole."""
        if self._content == "hl7v2" and mllp.VT in data and data.lstrip(BLANKS)[:1] == mllp.VT:
            link = mllp.MllpLink(mllp.MllpOptions(max_message=len(data), max_noise=len(data)))
            events = [*link.receive(data, 0.0), *link.closed()]
            return [event.payload for event in events if isinstance(event, Block)] if _clean(events) else []
        if self._content == "astm":
            try:
                texts = astm_capture.text_of_capture(data)
            except ContentError:
                return [data]  # it cannot be read at all: a dead letter says why
            messages = [message for text in texts for message in astm_messages.split(text)]
            return messages if messages and all(map(_is_ended, messages)) else []
        return [data]


def _clean(events: list[LinkEvent]) -> bool:
    return all(isinstance(event, Block) for event in events)


def _is_ended(message: bytes) -> bool:
    """Whether a message ends with its L record: with its line end, or at least with its code (T says do not use)."""
    records = [record for record in message.replace(b"\n", b"\r").split(b"\r") if record.strip(BLANKS)]
    if not records:
        return False
    delimiter = astm_messages.field_delimiter(records[0].lstrip(BLANKS)) or b"|"
    last = records[-1].split(delimiter)
    ended = message.rstrip(b"\0\x1a ").endswith((b"\r", b"\n")) or (len(last) > 2 and bool(last[2].strip(BLANKS)))
    return ended and astm_messages.is_terminator(records[-1], delimiter)
