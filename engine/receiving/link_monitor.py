"""Count the messages and faults of a channel's link, and log each fault.

The result of an append, for the connection that waits for it; a durable message goes on whether it waits or not.
"""

import asyncio
import logging
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeVar

from engine.model.errors import BacklogError, StoreError
from engine.model.link_events import LinkFault
from engine.model.process.clock import Clock
from engine.model.texts.link_words import SPEAKS_TLS

logger = logging.getLogger("labrelay.channel")

# Faults of bytes that gave no message: a cable, a speed. One now and then is noise; many without a message
# are not.
UNREAD_KINDS = frozenset({"noise", "bad-checksum", "bad-layout", "no-enq", "too-large", "text-too-large"})
UNREAD_SAID = 5  # so many without a message in between are logged as a warning
# Seconds that a connection that was refused at its first bytes is listed: one that may bring something, and a monitor's
# bare check, which is off the list soon after its monitor leaves the port alone.
STRANGERS_S, CHECKS_S = 86_400.0, 3_600.0


@dataclass(slots=True)
class UnreadFaults:
    """Faults of `UNREAD_KINDS` since the last message, and the latest of them."""

    faults: int = 0
    kind: str = ""
    peer: str = ""
    at: float = 0.0


@dataclass(slots=True)
class Strangers:
    """Connections that were refused at their first bytes for one reason, since the start, the latest of them, and how
    long they are listed.
    """

    connections: int
    peer: str
    until: float


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
    strangers: dict[str, Strangers] = field(default_factory=dict)  # why -> which
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
        self.counts.strangers.pop(SPEAKS_TLS, None)  # encryption may be off at the sender now
        self.counts.last_message_us = received_us

    def fault(self, fault: LinkFault, peer: str) -> None:
        """A peer has departed from the protocol, or lost its connection to a limit."""
        self._count(fault.kind)
        logger.info("link fault", extra=self._fields(fault, peer))
        if fault.kind in UNREAD_KINDS:
            self._unread(fault, peer)

    def turned_away(self, fault: LinkFault, peer: str, *, is_check: bool = False) -> None:
        """A connection is refused at its first bytes (`engine.receiving.door`)."""
        now, before = self._count(fault.kind), self.counts.strangers.get(fault.detail, Strangers(0, "", 0.0))
        until = max(before.until, now + (CHECKS_S if is_check else STRANGERS_S))
        self.counts.strangers[fault.detail] = Strangers(before.connections + 1, peer, until)
        logger.warning("connection refused at its first bytes", extra=self._fields(fault, peer))

    def _count(self, kind: str) -> float:
        now = self._clock.monotonic()
        self.counts.faults[kind] += 1
        self.counts.last_fault = (kind, now)
        return now

    def store_failed(self, peer: str, error: StoreError) -> None:
        """The journal could not store what came from a peer, or there was no room for it (`Backlog`)."""
        if isinstance(error, BacklogError):
            self.fault(LinkFault("backlog", str(error)), peer)
            return
        self.counts.store_fault = (str(error), self._count("not-stored"))
        logger.error(
            "cannot store, so nothing is acknowledged",
            extra={"channel": self._channel, "peer": peer, "detail": str(error)},
        )

    def stores_again(self) -> None:
        """The journal has stored something after a fault."""
        self.counts.store_fault = None
        logger.info("storing and acknowledging again", extra={"channel": self._channel})

    def _unread(self, fault: LinkFault, peer: str) -> None:
        faults = self.counts.unread.faults + 1
        self.counts.unread = UnreadFaults(faults, fault.kind, peer, self._clock.monotonic())
        if faults == UNREAD_SAID:
            logger.warning("incoming bytes cannot be read, and no message since", extra=self._fields(fault, peer))

    def _fields(self, fault: LinkFault, peer: str) -> dict[str, str]:
        return {"channel": self._channel, "peer": peer, "fault": fault.kind, "detail": fault.detail}


T = TypeVar("T")


def append_result(
    future: "asyncio.Future[T]", monitor: LinkMonitor, hand_on: Callable[[T], None]
) -> "asyncio.Future[BaseException | None]":
    """None, or the error.

    ``hand_on`` is a callback of the journal's own future: a durable message is processed in journal order, also
    after the connection is gone. For the same reason the wait uses a future of its own: cancelling a wait cancels
    its future.
    """
    waiter: asyncio.Future[BaseException | None] = asyncio.get_running_loop().create_future()

    def resolved(done: "asyncio.Future[T]") -> None:
        error = done.exception()
        if not waiter.done():
            waiter.set_result(error)  # first, so that the answer is sent before the message is processed
        if error is None:
            if monitor.counts.store_fault is not None:
                monitor.stores_again()
            hand_on(done.result())

    future.add_done_callback(resolved)
    return waiter
