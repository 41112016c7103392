"""Connections to an analyzer, as the desk sees them: the answer that is wanted, and the message that is under way.

Messages to an analyzer that it confirms by a message of its own (ORL^O34, ACK^Q03), by their control ids (MSA-2).
Of one connection: analyzers count control ids from 1 anew, and an answer comes by the connection of its message.

LabRelay's own connection to an analyzer that takes orders there (IHE LAW: each side opens what it begins).

    RSP^K11 on the analyzer's connection -> OML^O33 here, one at a time -> ORL^O34 -> the next OML^O33

Orders that wait for the connection go back to the worklist after their time. Where the connection is lost before the
ORL, the analyzer may have the orders: they wait again as ``MAYBE_KNOWN``.

Orders that were cancelled while the analyzer has them are taken back there by messages that it answers (IHE LAW:
ORC-1 ``CA`` with the same number, answered ``CR`` or ``UC``).

Each second it looks for such orders, and hands over the messages of each tube. An order is asked for once on a
connection, again on the next one, and no more once the analyzer has answered.

Source: IHE Laboratory Technical Framework volume 2b, LAB-27 and LAB-28.
"""

import asyncio
import logging
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import KW_ONLY, dataclass, field, replace
from typing import cast

from engine.features.orders import rows as worklist
from engine.features.orders.exchange.asking import Asking, Notes, about
from engine.features.orders.rows.reading import given_up
from engine.model.errors import StoreError
from engine.model.link_events import NotSent, SendEnd, Sent
from engine.model.message import Parsed
from engine.model.orders import Asked, Question, Reply, Tube, WorkItem
from engine.model.ports import RousedStream, TwoWayLink
from engine.model.process.clock import Clock
from engine.model.values import value
from engine.receiving.channel_parts import Connection
from engine.store.journal import Journal

MOST = 200  # messages of one connection; older ones are forgotten


@value(kw_only=True)
class Unconfirmed:
    """A message that was written.

    Attributes:
        query: of which it is a part. items: that it carries. cancels: it takes them back.
    """

    query: int = 0
    items: tuple[int, ...] = ()
    cancels: bool = False


class Awaited:
    """The messages of one connection whose confirmation may still come."""

    def __init__(self) -> None:
        self._sent: OrderedDict[str, Unconfirmed] = OrderedDict()

    def add(self, reply: Reply, query: int, *, cancels: bool = False) -> None:
        self._sent.pop(reply.control_id, None)
        self._sent[reply.control_id] = Unconfirmed(query=query, items=reply.items, cancels=cancels)
        if len(self._sent) > MOST:
            self._sent.popitem(last=False)

    def pop(self, control_id: str) -> Unconfirmed:
        """The message that is confirmed now; an empty one where it is not known."""
        return self._sent.pop(control_id, Unconfirmed())

    def left(self) -> list[Unconfirmed]:
        """All messages that carry items, and that nothing confirmed."""
        return [one for one in self._sent.values() if one.items]


@dataclass(slots=True, eq=False)
class Answering:
    """A question, and how far its answer is.

    Attributes:
        due: until when the answer may begin, monotonic. committed: it got a commit accept, so its sender waits.
        query: its number in the journal, 0 until that is durable.
        replies: not offered yet. own: those for the connection that we open, once the others have gone out.
        items: found for it, and not known yet whether they arrive. empty: none was found; its end is not noted yet.
        confirms: control id of the message whose confirmation the rest waits for; empty: it waits for none.
        looks: how often it was looked up. arrived: how many messages of the last look-up the analyzer has.
        over: why no more of it is sent; empty while it is wanted.
    """

    message: int
    parsed: Parsed
    question: Question
    due: float
    committed: bool = False
    query: int = 0
    replies: deque[Reply] = field(default_factory=deque)
    own: deque[Reply] = field(default_factory=deque)
    items: dict[int, None] = field(default_factory=dict)
    empty: bool = False
    confirms: str = ""
    looks: int = 0
    arrived: int = 0
    timer: asyncio.TimerHandle | None = None
    over: str = ""


@dataclass(slots=True)
class Sending:
    """One message that the link has.

    Attributes:
        answering: of which it is a part; None: no question asked for it.
        ended: of one that no question asked for: resolved with its end.
    """

    ticket: int
    reply: Reply
    answering: Answering | None = None
    ended: "asyncio.Future[SendEnd] | None" = None


@dataclass(slots=True, eq=False)
class Line:
    """One connection. The message that is under way may be of an older answer than the one that is wanted.

    Attributes:
        gone: the connection has ended.
        awaited: messages that the analyzer confirms by one of its own.
        unconfirmed: control id of the last of these that went out; a message of ours to which no question led waits for
            its answer, as long as the deadline of an answer.
        takes_back: its analyzer has asked in a way that says so (`engine.model.orders.Question`).
        rests: set while nothing is under way on it, in either direction; and once it is gone.
    """

    connection: Connection
    answering: Answering | None = None
    sending: Sending | None = None
    tickets: int = 0
    gone: bool = False
    unconfirmed: str = ""
    takes_back: bool = False
    awaited: Awaited = field(default_factory=Awaited)
    rests: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def link(self) -> TwoWayLink:
        return cast(TwoWayLink, self.connection.link)

    @property
    def is_free(self) -> bool:
        ours = self.answering is not None or self.sending is not None or bool(self.unconfirmed)
        return not (self.gone or ours or self.link.in_session)

    def note_rest(self) -> None:
        """Called after each event that may have changed it."""
        if self.gone or self.is_free:
            self.rests.set()
        else:
            self.rests.clear()

    def offer(self, reply: Reply, now: float) -> int:
        """Give a message to the link, and return its ticket.

        Raises:
            ValueError: it cannot be framed.
        """
        self.tickets += 1
        say(self.connection, self.tickets, reply, now)
        return self.tickets


def say(connection: Connection, ticket: int, reply: Reply, now: float) -> None:
    """Give a message to the link of a two-way connection, and have its reader send it.

    Raises:
        ValueError: it cannot be framed.
    """
    cast(TwoWayLink, connection.link).offer(ticket, reply.payload, now)
    connection.has_to_speak = True
    cast(RousedStream, connection.stream).rouse()


def keep_line(connection: Connection, end: SendEnd) -> None:
    """Have the bytes of a message of ours kept, with those of its time: it went out, or may have."""
    if connection.trace is not None and (isinstance(end, Sent) or end.maybe):
        connection.trace.spoke = True


LOOK_S = 1.0  # how often it looks
AT_ONCE = 100  # orders of one look


@dataclass(eq=False)
class TakingBack:
    """Of one channel, on one connection at a time.

    Attributes:
        put: has the messages of one tube sent, as soon as the connection is free.
    """

    channel: str
    asking: Callable[[], Asking]
    put: Callable[[Sequence[Reply]], None]
    _: KW_ONLY
    journal: Journal
    clock: Clock
    _asked: set[int] = field(default_factory=set)  # without an answer so far
    _answered: set[int] = field(default_factory=set)
    _timer: asyncio.TimerHandle | None = None
    _messages: int = 0

    def begin(self) -> None:
        """There is a connection: look now, and each second."""
        self._timer = asyncio.get_running_loop().call_later(LOOK_S, self.begin)
        try:
            found = given_up(self.journal, self.channel, limit=AT_ONCE)
        except StoreError:
            return
        self._answered.intersection_update(one.number for one in found)
        tubes: dict[str, list[WorkItem]] = {}
        for one in found:
            if one.number not in self._asked | self._answered:
                tubes.setdefault(one.line.specimen, []).append(one)
        for specimen, items in tubes.items():
            self._take_back(specimen, items)

    def end(self) -> None:
        """The connection is gone: what it did not answer is asked for again on the next one."""
        if self._timer is not None:
            self._timer.cancel()
        self._asked.clear()

    def answered(self, items: Iterable[int]) -> None:
        """The analyzer has answered for these, with yes or no."""
        numbers = set(items)
        self._asked -= numbers
        self._answered |= numbers

    def not_sent(self, items: Iterable[int]) -> None:
        self._asked.difference_update(items)

    def _take_back(self, specimen: str, items: Sequence[WorkItem]) -> None:
        asking = self.asking()
        cancelled = tuple(replace(one, line=replace(one.line, action="cancel")) for one in items)
        self._messages += 1
        context = asking.context(self.clock.now_us(), f"C{items[0].number}-{self._messages}")
        replies = asking.dialogue.download(Tube(asked=Asked(specimen=specimen), items=cancelled), context)
        self._asked.update(one.number for one in items)
        if replies:
            self.put(replies)


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

    def __init__(self, channel: str, asking: Callable[[], Asking], *, journal: Journal, clock: Clock) -> None:
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
