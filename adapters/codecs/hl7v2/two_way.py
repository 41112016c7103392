"""MLLP in both directions on one connection: what an analyzer sends, and whole messages for it. Pure.

MLLP is full duplex and has no acknowledgement of its own: a message that is written has been sent. Whether it was taken
is the format's to say (HL7 v2, MSA). A message that was offered and not handed over when the connection ends was not
sent; one that was handed over, and whose end was not asked for, may have been.
"""

from collections.abc import Callable

from adapters.codecs.hl7v2.mllp import MllpLink, MllpOptions
from adapters.codecs.link_options import options_of
from engine.model.link_events import LinkEvent, NotSent, SendEnd, Sent


def links(source: object) -> "Callable[[], MllpTwoWayLink]":
    """Return the factory that makes a link for each connection of a channel."""
    options = options_of(MllpOptions, source)
    return lambda: MllpTwoWayLink(options)


class MllpTwoWayLink(MllpLink):
    """One connection's link in both directions (`engine.model.ports.TwoWayLink`)."""

    def __init__(self, options: MllpOptions | None = None) -> None:
        super().__init__(options)
        self._offered: dict[int, bytes] = {}  # ticket -> framed
        self._ended: list[SendEnd] = []

    def outgoing(self) -> bytes:
        """Hand over all that was offered; the caller writes it before it asks `sends_ended`."""
        self._ended += map(Sent, self._offered)
        out = b"".join(self._offered.values())
        self._offered.clear()
        return out

    def closed(self) -> list[LinkEvent]:
        # The caller asks `sends_ended` after each write: what it did not ask for is of a write that has failed.
        self._ended = [NotSent(end.ticket, "closed", maybe=True) for end in self._ended]
        self._ended += [NotSent(ticket, "closed") for ticket in self._offered]
        self._offered.clear()
        return super().closed()

    # -- sending -----------------------------------------------------------------------------------------------------

    @property
    def sending(self) -> int:
        return len(self._offered)

    @property
    def in_session(self) -> bool:
        return not self.resting

    def offer(self, ticket: int, payload: bytes, now: float) -> None:
        self._offered[ticket] = self.wrap(payload)

    def withdraw(self, ticket: int) -> bool:
        return self._offered.pop(ticket, None) is not None

    def sends_ended(self) -> list[SendEnd]:
        ended, self._ended = self._ended, []
        return ended
