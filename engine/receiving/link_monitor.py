"""Count the messages and faults of a channel's link, and log each fault."""

import logging
from collections import Counter
from dataclasses import dataclass, field

from engine.model.clock import Clock
from engine.model.errors import StoreError
from engine.model.link_events import LinkFault

logger = logging.getLogger("labrelay.channel")

# Faults of bytes that gave no message: a cable, a speed, a stranger. One now and then is noise; many without a message
# are not.
UNREAD_KINDS = frozenset({"noise", "stranger", "bad-checksum", "bad-layout", "no-enq", "too-large", "text-too-large"})
UNREAD_SAID = 5  # so many without a message in between are logged as a warning


@dataclass(slots=True)
class UnreadFaults:
    """Faults of `UNREAD_KINDS` since the last message, and the latest of them."""

    faults: int = 0
    kind: str = ""
    detail: str = ""
    peer: str = ""
    at: float = 0.0


@dataclass(slots=True)
class ChannelCounts:
    """Counts of the link since start; unlike the journal's counters they do not survive a restart."""

    connections: int = 0
    messages: int = 0
    faults: Counter[str] = field(default_factory=Counter)
    notes: Counter[str] = field(default_factory=Counter)
    last_fault: tuple[str, float] | None = None
    last_message_us: int | None = None
    stray_bytes: int = 0  # outside of sessions, on closed connections
    unread: UnreadFaults = field(default_factory=UnreadFaults)
    store_fault: tuple[str, float] | None = None  # why nothing could be stored, and when last; None once it could


class LinkMonitor:
    """Counts and logs for one channel."""

    def __init__(self, channel: str, clock: Clock) -> None:
        self.counts = ChannelCounts()
        self._channel = channel
        self._clock = clock

    def message(self, received_us: int) -> None:
        """A message of the analyzer is durable."""
        self.counts.messages += 1
        if self.counts.unread.faults:
            self.counts.unread = UnreadFaults()
        self.counts.last_message_us = received_us

    def fault(self, fault: LinkFault, peer: str) -> None:
        """A peer has departed from the protocol, or lost its connection to a limit."""
        self.counts.faults[fault.kind] += 1
        self.counts.last_fault = (fault.kind, self._clock.monotonic())
        logger.info("link fault", extra=self._fields(fault, peer))
        if fault.kind in UNREAD_KINDS:
            self._unread(fault, peer)

    def store_failed(self, peer: str, error: StoreError) -> None:
        """The journal could not store what came from a peer."""
        now = self._clock.monotonic()
        self.counts.store_fault = (str(error), now)
        self.counts.faults["not-stored"] += 1
        self.counts.last_fault = ("not-stored", now)
        logger.error(
            "cannot store, so nothing is acknowledged",
            extra={"channel": self._channel, "peer": peer, "detail": str(error)},
        )

    def stores_again(self) -> None:
        """The journal has stored something after a fault."""
        self.counts.store_fault = None
        logger.info("storing and acknowledging again", extra={"channel": self._channel})

    def _unread(self, fault: LinkFault, peer: str) -> None:
        known, now = self.counts.unread, self._clock.monotonic()
        if known.kind == "stranger" and known.peer == peer:  # its later faults are less specific
            fault = LinkFault(known.kind, known.detail)
        self.counts.unread = UnreadFaults(known.faults + 1, fault.kind, fault.detail, peer, now)
        if known.faults + 1 == UNREAD_SAID:
            logger.warning("incoming bytes cannot be read, and no message since", extra=self._fields(fault, peer))

    def _fields(self, fault: LinkFault, peer: str) -> dict[str, str]:
        return {"channel": self._channel, "peer": peer, "fault": fault.kind, "detail": fault.detail}
