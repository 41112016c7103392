"""Parts of a channel: the services that it calls, its settings, an open connection, and its counts."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import Enum
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

from engine.model.journal.records import Recorded
from engine.model.link_events import Line
from engine.model.message import Stored
from engine.model.ports import Link, PolledVersion, Stream
from engine.receiving.door import Door, Opening
from engine.store.core.unanswered import host_of
from engine.store.operations.line_trace import LineTrace

if TYPE_CHECKING:
    import asyncio


class Answer(Protocol):
    """Build the application's answers to one block.

    ``stored``: all its messages were. ``delivered``: all were, too, where the channel waits for that; else True.
    ``refused``: why they never will be, as text for the sender. ``commit``: they are stored, and a `QuestionDesk` has
    the application's answer: only a commit accept is given, to a sender that asks for one (MSH-15).
    """

    def __call__(
        self,
        block: bytes,
        messages: Sequence[bytes],
        *,
        stored: bool,
        delivered: bool,
        refused: str = "",
        commit: bool = False,
    ) -> Sequence[bytes]: ...


class Acknowledged(Enum):
    """How a message that was just stored is acknowledged."""

    AS_USUAL = "as usual"
    COMMIT = "commit"  # with a commit accept alone: a question, or an answer to a message of ours
    NOT = "not"  # the desk's answer is the acknowledgement


class QuestionDesk(Protocol):
    """Answers the questions of a channel's analyzer (`engine.features.orders.exchange.desk`). Nothing here waits or
    raises."""

    def opened(self, connection: "Connection") -> None:
        """A line is there."""

    def durable(self, connection: "Connection", stored: Stored) -> None:
        """A message of this connection is durable; it may be a question. Where that could not be read, by a fault of
        ours, ``unread`` is set."""

    def spoken(self, connection: "Connection") -> None:
        """The link has had bytes or a tick, and all that it had to say is written: ask which sendings have ended."""

    def closed(self, connection: "Connection") -> None:
        """The line is gone."""


class OrderAnswers(Protocol):
    """Answers the orders of a laboratory system (`engine.features.orders.exchange.asking`)."""

    def expect(self, stored: Stored) -> "asyncio.Future[Any]":
        """The outcome of a message that is durable, asked for before intake has it. Shared: never cancel it."""

    def recorded(self, stored: Stored, outcome: Recorded) -> None:
        """The outcome of a message is durable, with its orders."""

    async def answers(
        self, block: bytes, messages: Sequence[bytes], outcomes: "Sequence[asyncio.Future[Any]]"
    ) -> Sequence[bytes] | None:
        """The answers to a block, once the orders of its messages are on the worklist. None: that took too long, and
        the sender must send it again.

        Args:
            outcomes: of its messages, as `expect` gave them.
        """


@dataclass(frozen=True, slots=True, kw_only=True)
class ChannelSettings:
    """The settings of a channel's connections; made from the channel's YAML by the composition root."""

    name: str
    repeat_window_s: float
    idle_timeout_s: float | None
    max_connections: int
    answer_store_fault: bool  # on_store_fault: ae
    max_message: int = 16 * 1024 * 1024
    ack_timeout_s: float | None = None  # ack: on_delivery: how long the answer waits. None: ack: on_store
    is_awaited: bool = True  # the sender waits for our answer to each frame, and repeats what is refused
    is_draft: bool = False  # what comes is for the record only, until a person decides
    opening: Opening | None = None  # of connections over TCP: their first bytes are judged


@dataclass(slots=True)
class Connection:
    """One open connection, as the page shows it."""

    stream: Stream
    link: Link
    opened: float
    last_byte: float
    last_message: float | None = None
    session: int | None = None
    evicted: bool = False
    held: int = 0  # as `ReceiveMemory` counts it
    trace: LineTrace | None = None  # of links that answer frame by frame
    door: Door | None = None  # while the first bytes are judged
    turned_away: bool = False  # by the door: nothing of it is kept
    ended: tuple[int, str] | None = None  # the session that has just ended, and its cause
    acknowledged: Acknowledged = Acknowledged.AS_USUAL  # of the message that was just stored
    unread: bool = False  # its question could not be read, by a fault of ours: it ends, so that the analyzer asks again
    has_to_speak: bool = False  # the link was given a message to send, and the reader may not know it yet
    own: bool = False  # we opened it to send orders, beside those of the source
    refused: bool = False  # its message was rejected as too large, and it must get time to read that
    line: Line = field(init=False)
    unanswered: list[int] = field(init=False)  # durable messages whose answer is not written yet
    polled: PolledVersion | None = field(init=False)  # that the message of this stream is

    def __post_init__(self) -> None:
        self.unanswered = getattr(self.stream, "unanswered", [])  # of a `NumberedStream`: its answer names them
        self.polled = getattr(self.stream, "polled", None)  # of a `PolledStream`
        self.line = self.new_line()

    def new_line(self) -> Line:
        """The connection as the journal identifies it, for unanswered messages."""
        return Line(host_of(self.stream.peer), partial(getattr, self.stream, "gone", False))

    def how_acknowledged(self, *, alone: bool) -> Acknowledged:
        """How the message just stored is acknowledged; asked once. ``alone``: it was one, no batch, and is stored."""
        how, self.acknowledged = self.acknowledged, Acknowledged.AS_USUAL
        return how if alone else Acknowledged.AS_USUAL

    def speaks_now(self) -> bool:
        """Whether the link has to be asked for bytes before the next read; asked once."""
        speaks, self.has_to_speak = self.has_to_speak, False
        return speaks

    @property
    def peer(self) -> str:
        return self.stream.peer


def raise_if(error: BaseException | None) -> None:
    if error is not None:
        raise error
