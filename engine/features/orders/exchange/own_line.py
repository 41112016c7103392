"""LabRelay's own connection to an analyzer that takes orders there (IHE LAW: each side opens what it begins).

    RSP^K11 on the analyzer's connection -> OML^O33 here, one at a time -> ORL^O34 -> the next OML^O33

Orders that wait for the connection go back to the worklist after their time. Where the connection is lost before the
ORL, the analyzer may have the orders: they wait again as ``MAYBE_KNOWN``. An order that was cancelled while the
analyzer has it is taken back here (`engine.features.orders.exchange.taking_back`).

Source: IHE Laboratory Technical Framework volume 2b, LAB-27 and LAB-28.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, cast

from engine.features.orders import rows as worklist
from engine.features.orders.exchange.asking import Asking
from engine.features.orders.exchange.line import Awaited, Unconfirmed, keep_line, say
from engine.features.orders.exchange.noting import Notes, about
from engine.features.orders.exchange.taking_back import TakingBack
from engine.model.link_events import NotSent, Sent
from engine.model.orders import Reply
from engine.model.ports import TwoWayLink
from engine.model.process.clock import Clock
from engine.receiving.channel_parts import Connection

if TYPE_CHECKING:
    from engine.store.journal import Journal

logger = logging.getLogger("labrelay.orders")

QUEUED = 200  # exchanges that wait for the connection; more go back to the worklist at once


@dataclass(slots=True, eq=False)
class Exchange:
    """Messages that belong together; each is confirmed before the next one goes out.

    Attributes:
        query: of which they are a part; 0: none. cancels: they take orders back.
    """

    replies: deque[Reply]
    query: int = 0
    cancels: bool = False
    timer: asyncio.TimerHandle | None = None

    @property
    def items(self) -> tuple[int, ...]:
        return tuple(number for reply in self.replies for number in reply.items)


@dataclass(slots=True)
class _State:
    """Of one connection: the message that the link has, and the one whose confirmation is awaited."""

    connection: Connection
    current: Exchange | None = None
    sending: Reply | None = None
    confirms: str = ""
    timer: asyncio.TimerHandle | None = None
    awaited: Awaited = field(default_factory=Awaited)

    @property
    def link(self) -> TwoWayLink:
        return cast(TwoWayLink, self.connection.link)


class OwnLine:
    """Of one channel."""

    def __init__(self, channel: str, asking: Callable[[], Asking], *, journal: "Journal", clock: Clock) -> None:
        self._channel = channel
        self._asking = asking
        self._notes = Notes(channel, journal)
        self._clock = clock
        self._now: _State | None = None
        self._queue: deque[Exchange] = deque()
        self._tickets = 0
        self._taking_back = TakingBack(channel, asking, self._take_back, journal=journal, clock=clock)

    # -- the connection ------------------------------------------------------------------------------------------------

    def opened(self, connection: Connection) -> None:
        self._now = _State(connection)
        self._taking_back.begin()
        self._go_on()

    def spoken(self) -> None:
        """Note the message whose sending has ended."""
        now = self._now
        if now is None:
            return
        for end in now.link.sends_ended():
            keep_line(now.connection, end)
            reply, now.sending = now.sending, None
            if reply is None or end.ticket != self._tickets or now.current is None:
                continue
            exchange = now.current
            if isinstance(end, NotSent):
                if exchange.cancels:
                    self._taking_back.not_sent(reply.items)
                else:
                    self._notes.note(worklist.not_offered, exchange.query, reply.items, end.reason, maybe=end.maybe)
                continue
            assert isinstance(end, Sent)
            now.awaited.add(reply, exchange.query, cancels=exchange.cancels)
            now.confirms = reply.control_id
            now.timer = asyncio.get_running_loop().call_later(self._asking().deadline_s, self._unconfirmed, now)
            if reply.items:
                noting = worklist.taken_back if exchange.cancels else worklist.offered
                self._notes.note(noting, exchange.query, reply.items, self._channel, self._clock.now_us())
            logger.info("orders sent", extra=about(self._channel, reply.items))

    def confirmed(self, control_id: str) -> Unconfirmed:
        """The message that the analyzer has just answered; an empty one where it is not known."""
        now = self._now
        if now is None:
            return Unconfirmed()
        sent = now.awaited.pop(control_id)
        if sent.cancels:
            self._taking_back.answered(sent.items)
        if now.confirms and now.confirms == control_id:
            self._confirms_no_more(now)
            self._go_on()
        return sent

    def closed(self) -> None:
        now = self._now
        if now is None:
            return
        self.spoken()
        self._confirms_no_more(now)
        self._now = None
        for sent in now.awaited.left():
            if not sent.cancels:
                self._notes.note(worklist.not_offered, sent.query, sent.items, "unconfirmed", maybe=True)
        self._taking_back.end()
        if now.current is not None:
            self._back(now.current, "closed")

    # -- sending -------------------------------------------------------------------------------------------------------

    def put(self, exchange: Exchange, within_s: float) -> None:
        """Send this once the connection is there and free; after ``within_s`` seconds its orders wait again."""
        if len(self._queue) >= QUEUED:
            self._back(exchange, "busy")
            return
        self._queue.append(exchange)
        exchange.timer = asyncio.get_running_loop().call_later(within_s, self._late, exchange)
        self._go_on()

    def _go_on(self) -> None:
        now = self._now
        if now is None or now.sending is not None or now.confirms:
            return
        while now.current is None or not now.current.replies:
            if not self._queue:
                now.current = None
                return
            now.current = self._queue.popleft()
            if now.current.timer is not None:
                now.current.timer.cancel()
        now.sending = now.current.replies.popleft()
        self._tickets += 1
        say(now.connection, self._tickets, now.sending, self._clock.monotonic())

    def _unconfirmed(self, now: _State) -> None:
        """No answer in time: the rest of its exchange waits again, and the next exchange may go."""
        exchange, now.current, now.confirms = now.current, None, ""
        if exchange is not None:
            self._back(exchange, "unconfirmed")
        self._go_on()

    def _confirms_no_more(self, now: _State) -> None:
        now.confirms = ""
        if now.timer is not None:
            now.timer.cancel()

    def _late(self, exchange: Exchange) -> None:
        if exchange in self._queue:
            self._queue.remove(exchange)
            self._back(exchange, "no_connection" if self._now is None else "late")

    def _back(self, exchange: Exchange, reason: str) -> None:
        """No byte of these has gone out: they wait again."""
        items = exchange.items
        if exchange.cancels:
            self._taking_back.not_sent(items)
        elif items:
            self._notes.note(worklist.not_offered, exchange.query, items, reason, maybe=False)
            logger.warning("orders were not sent", extra={**about(self._channel, items), "reason": reason})

    def _take_back(self, replies: Sequence[Reply]) -> None:
        self.put(Exchange(deque(replies), cancels=True), self._asking().deadline_s)
