r"""Texts of analyzers with a format of their own, read as a layout describes them. A format; pure.

    text -> pieces -> rules -> records H P O R C M L of E1394 -> the tree that mappings of E1394 see
            `text_pieces` `text_reading`  `text_tree`                  `astm_records`

The records are written as E1394 text, with every value escaped, and read by `astm_records`: a mapping, a code table,
`gaps` or a rule about controls sees the same as if an analyzer that speaks E1394 would have sent.
"""

import re
from codecs import BOM_UTF8
from typing import Protocol

from adapters.codecs.astm import records as astm_records
from adapters.codecs.astm.text import decode
from adapters.codecs.text.framing import shown
from adapters.codecs.text.layout_language import Layout, Rows
from adapters.codecs.text.layout_reader import read_layout
from adapters.codecs.text.link import TextLink
from adapters.codecs.text.pieces import pieces, split_rows
from adapters.codecs.text.reading import TextReader
from engine.model.errors import ContentError
from engine.model.link_events import Block, Frame, LinkFault, SessionEnd
from engine.model.message import FormatOptions, Header, Issue, Parsed
from engine.model.texts.reasons import ReasonCode

__all__ = ["TextFormat", "build", "read_layout"]

FED_AT_ONCE = 64 * 1024  # bytes of a file
_BOM = "\ufeff"
_UTF16_MARKS = (b"\xff\xfe", b"\xfe\xff")
# NULs that printers are given at the ends of lines. A serial driver puts one within a line for a byte with a wrong
# parity or stop bit: without it, 1.2 would become 12.
_FILL = re.compile("(?<![^\r\n])\0+|(?<!\0)\0++(?![^\r\n])")


class Settings(Protocol):
    """The settings of a channel's ``source:`` for its texts."""

    text_layout: Layout


def build(source: Settings) -> "TextFormat":
    """The format of a channel."""
    return TextFormat(source.text_layout)


class TextFormat:
    """Reads the texts of one layout."""

    def __init__(self, layout: Layout) -> None:
        self._layout = layout

    # -- engine.model.ports.Format -----------------------------------------------------------------------------------

    def header(self, payload: bytes) -> Header:
        """A text names no id and no version of itself; that it is one of results is known once it is read."""
        return Header(message_type="R")

    def split(self, payload: bytes) -> list[bytes]:
        """The texts of a file: cut at their framing where it has one, rows by their key.

        A file whose framing is damaged anywhere is one message, which `parse` refuses.
        """
        texts = self._unframe(payload)
        how = self._layout.text
        if isinstance(how, Rows):
            return [part for text in texts for part in split_rows(text, how)]
        return texts

    def parse(self, payload: bytes, options: FormatOptions) -> Parsed:
        """Read a whole text.

        Raises:
            ContentError: UNREADABLE (a field that is required is missing, a rule refuses the text, rows that are no
                rows), INCOMPLETE (a file whose framing is damaged), TOO_LARGE, UNKNOWN_CHARSET.
        """
        self._refuse_framing(payload)
        marked = ("utf-16",) if payload.startswith(_UTF16_MARKS) else ("utf-8",) if payload.startswith(BOM_UTF8) else ()
        wide = (*marked, *options.charsets)
        text, charset = decode(payload.removeprefix(BOM_UTF8), wide)
        reading = TextReader(self._layout)
        text = _FILL.sub("", text.removeprefix(_BOM)).replace("\0", "\ufffd")
        found = pieces(text, self._layout.text, self._layout.columns)
        for piece in found:
            reading.take(piece)
        if isinstance(self._layout.text, Rows) and found and not text.endswith(("\n", "\r")):
            reading.warn("no-line-end", "the last row has no line end; it may have been cut off", "last row")
        reading.end()
        parsed = astm_records.parse(reading.tree.text().encode(), FormatOptions())
        parsed.charset = charset
        parsed.places = reading.tree.places()
        known = {warning.code for warning in parsed.warnings}
        parsed.warnings = [*reading.warnings, *parsed.warnings]
        if charset not in wide and "charset" not in known:
            text_ = f"not in a character set of the channel; read as {charset}"
            parsed.warnings.insert(0, Issue(code="charset", text=text_))
        return parsed

    # -- texts in files ----------------------------------------------------------------------------------------

    def _unframe(self, payload: bytes) -> list[bytes]:
        framing = self._layout.framing
        if framing is None or not any(mark in payload for mark in (framing.start, framing.end) if mark):
            return [payload]
        link = TextLink(framing, max_message=len(payload) + 1)
        texts: list[bytes] = []
        for at in range(0, len(payload), FED_AT_ONCE):
            events = link.receive(payload[at : at + FED_AT_ONCE], 0.0)
            while events:
                for event in events:
                    if isinstance(event, LinkFault) or (isinstance(event, SessionEnd) and event.incomplete):
                        return [payload]
                    if isinstance(event, Frame | SessionEnd):
                        texts += event.completes
                    assert not isinstance(event, Block)
                link.committed(0.0)
                events = link.receive(b"", 0.0)
        return texts if texts and not link.closed() else [payload]

    def _refuse_framing(self, payload: bytes) -> None:
        framing = self._layout.framing
        for mark in (framing.start, framing.end) if framing is not None else ():
            if mark and mark in payload:
                detail = (
                    f"{shown(mark)} without its counterpart, or with a wrong checksum: nothing of this file is used"
                )
                raise ContentError(ReasonCode.INCOMPLETE, detail)
