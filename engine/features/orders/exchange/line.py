"""One connection to an analyzer, as the desk sees it: the answer that is wanted, and the message that is under way.

Messages to an analyzer that it confirms by a message of its own (ORL^O34, ACK^Q03), by their control ids (MSA-2).

Of one connection: analyzers count control ids from 1 anew, and an answer comes by the connection of its message.
"""

import asyncio
from collections import OrderedDict, deque
from dataclasses import dataclass, field
from typing import cast

from engine.model.link_events import SendEnd, Sent
from engine.model.message import Parsed
from engine.model.orders import Question, Reply
from engine.model.ports import RousedStream, TwoWayLink
from engine.model.values import value
from engine.receiving.channel_parts import Connection

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
