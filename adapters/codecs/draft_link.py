"""The link of a channel of which nothing is known yet: what `auto_link` knows, and any other text, which is kept. Pure.

A text ends with a silence, or the beginning of a session or block. It is a message of its own, so that all that came is
in the journal before a layout describes it. One that the end of the connection cut off, and the first of a serial line
that was not silent before, are evidence, as they will be once a layout reads them (`adapters.codecs.text.link`).

In such a text ``H;;`` or ``MSH|`` begins a session only where a line does.
"""

import re
from collections.abc import Callable
from typing import Any

from adapters.codecs.astm import link as astm_link
from adapters.codecs.auto_link import AutoLink
from adapters.codecs.hl7v2 import mllp
from engine.model.link_events import LinkEvent, LinkFault, SessionEnd

SILENCE_S = 2.0  # that ends a text
MAX_TEXT = 1024 * 1024  # bytes of one; what follows is another one
_BLANKS = b"\x00\r\n\x04\x06\x15"
_SIGNS = rb"[!-/:-@\\[-`{-~]"
_LINE = rb"(?<=[\x00\r\n\x04])"
_CONTROLS = rb"[\x02\x05\x0b]|"
_HEADER = rb"(?:[Hh]" + _SIGNS + _SIGNS + rb"|[MFB](?:SH|HS)" + _SIGNS + rb")"
_TAIL = rb"(?:[Hh]" + _SIGNS + rb"?|[MFB][SH]{0,2})\Z"
# What begins a session or block, and what may: before any text, and behind some of it.
_FIRST = tuple(re.compile(one) for one in (_CONTROLS + rb"(?:%s|\A)" % _LINE + _HEADER, rb"(?:%s|\A)" % _LINE + _TAIL))
_INSIDE = tuple(re.compile(one) for one in (_CONTROLS + _LINE + _HEADER, _LINE + _TAIL))

assemble = astm_link.assemble


def links(source: Any) -> "Callable[[], DraftLink]":
    """Return the factory that makes a link for each connection of a channel."""
    new_mllp, new_astm = mllp.links(source), astm_link.links(source)
    return lambda: DraftLink(new_mllp, new_astm, joins=source.transport == "serial")


class DraftLink(AutoLink):
    """One connection's link (`engine.model.ports.Link`)."""

    def __init__(
        self,
        new_mllp: Callable[[], mllp.MllpLink],
        new_astm: Callable[[], astm_link.AstmReceiver],
        *,
        joins: bool = False,
    ) -> None:
        """``joins``: we may have come in the middle of a text."""
        super().__init__(new_mllp, new_astm)
        self._text = bytearray()
        self._last: float | None = None if joins else 0.0
        self._torn = joins

    @property
    def resting(self) -> bool:
        return not self._text and super().resting

    @property
    def held(self) -> int:
        return len(self._text) + super().held

    def receive(self, data: bytes, now: float) -> list[LinkEvent]:
        if data:
            if self._last is not None and now >= self._last + SILENCE_S:
                self._torn = False
            self._last = now
        return super().receive(data, now)

    def deadline(self) -> float | None:
        if self._last is None:
            return 0.0  # at once
        return self._last + SILENCE_S if self._text or self._seen else super().deadline()

    def tick(self, now: float) -> list[LinkEvent]:
        if self._last is None:
            self._last = now
        if not (self._text or self._seen):
            return super().tick(now)
        return self._ended("timeout") if now >= self._last + SILENCE_S else []

    def closed(self) -> list[LinkEvent]:
        self._torn = True
        return [*super().closed(), *self._ended("closed")]

    def _begin(self, data: bytes, at: int) -> tuple[bytes, int, list[LinkEvent]]:
        data, self._seen = self._seen + data[at:], b""
        self.start, self.may_start = _INSIDE if self._text else _FIRST
        if self._text:  # its last byte says whether a line begins
            data = bytes(self._text[-1:]) + data
            del self._text[-1:]
        data, at, events = super()._begin(data, 0)
        if (data and self._text) or len(self._text) >= MAX_TEXT:
            events += self._ended("enq")
        return data, at, events

    def _ended(self, cause: str) -> list[LinkEvent]:
        text, self._text, self._seen = bytes(self._text) + self._seen, bytearray(), b""
        torn, self._torn = self._torn, False
        if not text.strip(_BLANKS):
            return []
        return [SessionEnd(cause, incomplete=text) if torn else SessionEnd(cause, completes=(text,))]

    def _skip(self, data: bytes) -> list[LinkFault]:
        """Keep it. A line end alone is of no text."""
        if self._text or data.strip(_BLANKS):
            self._text += data
        return []
