"""The contracts between `engine` and `adapters`, as Protocols: an adapter needs no base class.

A transport makes Streams, a link is a pure machine between bytes and events, a format reads payloads, a destination
delivers documents.
"""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from engine.model.link_events import Direction, LinkEvent, SendEnd, TeeEvent
from engine.model.message import Delivery, FormatOptions, Header, Parsed
from engine.model.orders import AnswerContext, Confirmation, Question, Reply, Tube
from engine.model.site.alerts import Notification
from engine.model.versions import Versions


class Stream(Protocol):
    """One connection or serial line. ``read`` and ``write`` raise OSError when the line breaks."""

    @property
    def peer(self) -> str:
        """Where the other side is, for logs: an address or device, never content."""

    async def read(self, timeout: float | None = None) -> bytes:  # noqa: ASYNC109 - a timer of its own is cheaper
        """The next bytes, as many as there are; ``b""`` at the end of the stream.

        Raises:
            TimeoutError: nothing came within ``timeout`` seconds; the stream stays usable.
        """

    async def write(self, data: bytes) -> None:
        """Hand ``data`` to the operating system, waiting while the peer does not read."""

    def end(self) -> None:
        """Make the reader see the end of the stream now; called from outside its task."""

    async def close(self) -> None: ...


class EndedStream(Stream, Protocol):
    """A connection whose other side can end its sending (half-close), with or without still reading."""

    @property
    def gone(self) -> bool:
        """The other side sends no more. Asked from other threads, too."""

    async def took(self) -> bool:
        """Whether the other side has taken what was written since."""


class NumberedStream(EndedStream, Protocol):
    """A stream whose answer names the messages that it acknowledges.

    Attributes:
        unanswered: their numbers; the channel adds them as they become durable, before it writes the answer.
    """

    unanswered: list[int]


@dataclass(frozen=True, slots=True, kw_only=True)
class PolledVersion:
    """A version of a resource of a server that is polled.

    Attributes:
        resource: type and id, as ``ServiceRequest/17``.
        version: differs between any two versions of the resource.
        updated_us: when the server had it, by the server's clock; 0: it does not say.
        number: of the version, where the server counts them; 0: it does not.
        key: the same with each repeat of the message, by which one is known; empty: it has none.
    """

    resource: str
    version: str
    updated_us: int
    number: int = 0
    key: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class PollCursor:
    """How far a server was read; microseconds by its clock.

    Attributes:
        begin_us: where the first search began.
        reached_us: all that changed up to here was taken.
    """

    begin_us: int
    reached_us: int


class PolledStream(Stream, Protocol):
    """A stream of one message, which is a version of a resource; both become durable together."""

    @property
    def polled(self) -> PolledVersion | None:
        """None: the message is of no server that is polled."""


class PollMemory(Protocol):
    """What a channel has taken of the server that it polls; durable. Raises `StoreError`."""

    def cursor(self) -> PollCursor | None:
        """None: nothing was read yet."""

    def is_old(self, polled: PolledVersion) -> bool:
        """Whether this version, or a later one of its resource, was taken."""

    def number(self, resource: str) -> int:
        """Of the version of this resource that was taken last; 0: none."""

    def journal(self) -> str:
        """Which journal this is, and which incarnation of it."""

    def waits(self) -> bool:
        """Whether something of the channel is to be mapped or delivered yet."""

    async def move(self, cursor: PollCursor) -> None:
        """Remember how far the server was read; returns once that is durable."""


class RousedStream(Stream, Protocol):
    """A line on which we begin to speak, too."""

    def rouse(self) -> None:
        """End the read that waits now with `TimeoutError`, from outside its task; without one do nothing."""


StreamHandler = Callable[[Stream], Awaitable[None]]


class Transport(Protocol):
    """Where streams come from: a listener, a connection that is kept, a serial line. It calls a handler for each."""

    @property
    def fault(self) -> str:
        """Why there is no line just now although it is being tried; empty where there is nothing to say."""

    async def start(self) -> int:
        """Begin, and return the port (0 where there is none). Does not wait for the peer.

        Raises:
            OSError, ValueError: it cannot begin (address in use, unreadable certificate); the caller tries again.
        """

    async def stop(self, grace_s: float = 3.0) -> None:
        """Begin nothing new, let each handler finish, close the rest after ``grace_s`` seconds."""


class Link(Protocol):
    """Framing and link acknowledgement of one connection: pure, one instance per connection.

    The caller feeds bytes, stores what the events ask to be stored, says how that went, and writes what `outgoing`
    returns, in this order. For a `Frame` the caller must call `committed` or `failed` before it feeds more bytes or
    handles the next event; for a `Block` the answer is the format's (`Format.acknowledge`), framed by `wrap`, and
    `committed` is called once all that is in it is durable.
    """

    @property
    def held(self) -> int:
        """Bytes that are kept for a message that is not complete yet."""

    def receive(self, data: bytes, now: float) -> list[LinkEvent]:
        """The events that ``data`` completes, in order. ``now``: seconds, monotonic."""

    def committed(self, now: float) -> None:
        """The last Frame is durable: its ACK may go out."""

    def failed(self, now: float) -> None:
        """The last Frame could not be stored: NAK."""

    def outgoing(self) -> bytes:
        """Bytes the link itself has to say now (ENQ's ACK, a NAK); empties them."""

    def deadline(self) -> float | None:
        """When `tick` must be called at the latest (monotonic), or None."""

    def tick(self, now: float) -> list[LinkEvent]:
        """Let timers act."""

    def closed(self) -> list[LinkEvent]:
        """The stream ended: the rest becomes incomplete."""

    def wrap(self, payload: bytes) -> bytes:
        """Frame an answer for this link."""


class TracedLink(Link, Protocol):
    """A link with a trace for people (`engine.store.operations.line_trace`): it accepts or refuses frame by frame."""

    @property
    def traced(self) -> bool:
        """Whether that is so on this connection."""

    @property
    def resting(self) -> bool:
        """Nothing is under way: the next byte begins a session or message."""


class TwoWayLink(TracedLink, Protocol):
    """A link that also sends messages of its own, between those of the other side (ASTM E1381, half duplex).

    After `receive`, `tick` and `closed` the caller asks `sends_ended`.
    """

    @property
    def sending(self) -> int:
        """Messages that were offered and have not ended."""

    @property
    def in_session(self) -> bool:
        """Whether the other side has the line: it has asked for it, and has not ended. Noise is no session."""

    def offer(self, ticket: int, payload: bytes, now: float) -> None:
        """Send ``payload`` once the line is free. ``ticket`` comes back in `sends_ended`.

        Raises:
            ValueError: the text cannot be framed.
        """

    def withdraw(self, ticket: int) -> bool:
        """Take back a message of which no byte has gone out; False: too late, or it has ended."""

    def sends_ended(self) -> list[SendEnd]:
        """The messages whose sending has ended since the last call, in their order; empties them."""


class Dialogue(Protocol):
    """How one kind of analyzer asks for orders, and how it is answered: pure, of a codec or a dialect.

    An HL7 dialogue writes whole messages; an ASTM dialogue writes records from H through L. A dialogue may also have
    ``dilutions``, as `engine.model.worklist.AskSettings` (else any); ``cancels``, whether `download` can take orders
    back (else it cannot); ``sending``, what its link has to know to send; ``fetch``
    (`engine.features.orders.exchange.taking`); and
    ``ordered_as(parsed)``: by `Segment.position`, the analyzer's code of the order that a result is of, where the code
    of the result itself is another one; ``test_alone(code)``: a code without what the maker writes behind it, where
    results of one test have several; and ``self_made(parsed)``: by `Segment.position`, the results of orders that the
    analyzer made itself, each with the item and the code of the test that it names as their cause (empty: none).
    """

    def question(self, parsed: Parsed) -> Question | None:
        """The question of a message; None: it asks nothing."""

    def answer(self, parsed: Parsed, question: Question, tubes: Sequence[Tube], context: AnswerContext) -> list[Reply]:
        """The messages that answer ``question``, in their order; "none" in the maker's form. Empty: say nothing."""

    def download(self, tube: Tube, context: AnswerContext) -> list[Reply]:
        """The messages that give an analyzer the orders of a tube unasked; empty: it takes none.

        Items whose line says ``cancel`` are taken back.
        """

    def confirmation(self, parsed: Parsed) -> Confirmation | None:
        """What a message says of items that were sent before; None: nothing."""


class TappedStream(Stream, Protocol):
    """A line between two other systems, as a tee reads it: the bytes that passed, in their order.

    It is a `Stream` that nothing can be read from or written to; ``end`` stops the hearing and leaves the line alone.
    """

    async def hear(self, timeout: float | None = None) -> tuple[Direction, bytes] | None:  # noqa: ASYNC109 - as `Stream.read`
        """The next bytes that passed; None once the line is gone. ``b""``: some passed unheard, for lack of memory.

        Raises:
            TimeoutError: nothing passed within ``timeout`` seconds.
        """


class TeeLink(Protocol):
    """A listener on a connection between two other systems: pure, one instance per connection; it answers nothing."""

    @property
    def held(self) -> int:
        """Bytes that are kept for messages that are not complete, or not answered, yet."""

    @property
    def receiving(self) -> bool:
        """Whether a session or block is under way."""

    def hear(self, way: Direction, data: bytes, now: float) -> list[TeeEvent]:
        """The events that ``data`` from ``way`` completes, in order. ``now``: seconds, monotonic."""

    def deadline(self) -> float | None:
        """When `tick` must be called at the latest (monotonic), or None."""

    def tick(self, now: float) -> list[TeeEvent]:
        """Let timers act."""

    def closed(self) -> list[TeeEvent]:
        """The line is gone: the rest becomes evidence."""


class Format(Protocol):
    """Content: HL7 v2, ASTM E1394. Implemented by a codec module's functions; pure."""

    def header(self, payload: bytes) -> Header:
        """Read the first segment. Never raises: an unreadable header has ``problem`` set."""

    def split(self, payload: bytes) -> list[bytes]:
        """The messages of one block (batches, several MSH), each to be journaled on its own; usually one."""

    def parse(self, payload: bytes, options: FormatOptions) -> Parsed:
        """Read the whole message.

        Raises:
            ContentError: UNREADABLE, UNKNOWN_CHARSET.
        """


@dataclass(frozen=True, slots=True)
class ConditionsTrial:
    """The result of testing whether a destination honours the conditions of ``conflicts: check``.

    Attributes:
        problem: why a condition protects nothing there; empty where it does.
        unknown: why it could not be tested; empty where it could.
        left: addresses of test resources that could not be removed again.
    """

    problem: str = ""
    unknown: str = ""
    left: tuple[str, ...] = ()


class Destination(Protocol):
    """Somewhere documents go. ``deliver`` returning means delivered, in the sense of the destination's kind."""

    async def start(self) -> None:
        """Open what is needed (sessions, folders). Must not fail because the peer is down."""

    async def deliver(self, delivery: Delivery) -> Versions | None:
        """Send one document; gives the versions that the server has of our resources now, where it is asked for them.

        Raises:
            TransientDeliveryError, DestinationDownError, RefusedDeliveryError
        """

    async def probe(self) -> str | None:
        """Look for `check --online` whether the peer is there and fits the configuration; raises DeliveryError.

        Returns:
            Advice for a person, or None.
        """

    async def close(self) -> None: ...


class Reachable(Protocol):
    """A sink of alerts, or the receiver of a webhook, as `check --online` sees it."""

    async def start(self) -> None: ...

    async def probe(self) -> None:
        """Look whether it is there and lets us in, and give it nothing; raises DeliveryError."""

    async def close(self) -> None: ...


class EventReceiver(Protocol):
    """A program that events are sent to. ``send`` returning means that it has taken the event."""

    async def start(self) -> None:
        """Open what is needed. Must not fail because the peer is down."""

    async def send(self, event_id: str, body: bytes) -> None:
        """
        Args:
            event_id: the same at each attempt.

        Raises:
            RefusedDeliveryError: it does not take this event, also later.
            DeliveryError: it has not taken it; the same may be tried again.
        """

    async def close(self) -> None: ...


class AlertSink(Protocol):
    """Somewhere alerts go. ``send`` returning means that the sink has taken the message."""

    async def start(self) -> None:
        """Open what is needed. Must not fail because the peer is down."""

    async def send(self, notification: Notification) -> Sequence[str]:
        """The addresses that it has refused, each with the reason; it has taken the message for all others.

        Raises:
            RefusedDeliveryError: it does not take this message, also later.
            DeliveryError: it has not taken it; the same may be tried again.
        """

    async def close(self) -> None: ...
