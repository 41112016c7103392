"""A listening channel: the messages that pass a tee are journaled, and those of the analyzer are mapped.

    bytes on the line -> listener -> backlog         never waits, so that it keeps up with the line
    backlog -> journal                               one message after the other, retried until it is stored

Nothing is answered here: the middleware has the responsibility (P1), and a message is journaled once it has answered.
If the journal cannot store it, it waits in the backlog; a message without room there is lost to LabRelay, and counted
(`TeeCounts.not_kept`). `adapters.transports.tee` carries the line itself, and nothing here can delay it.
"""

import asyncio
import logging
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, cast

from engine.model.errors import StoreError
from engine.model.link_events import Answered, Direction, Line, LinkEvent, LinkFault, OverheardMessage, TeeEvent
from engine.model.message import Received, Stored
from engine.model.ports import Format, Stream, TappedStream, TeeLink
from engine.model.process.clock import Clock
from engine.model.process.receive_memory import ReceiveMemory
from engine.model.texts.reasons import ReasonCode
from engine.receiving.channel import Channel
from engine.receiving.channel_parts import ChannelSettings, Connection
from engine.receiving.door import Door
from engine.receiving.unstored import STORE_RETRY_S
from engine.store.core.unanswered import host_of
from engine.store.operations import append

if TYPE_CHECKING:
    from engine.store.journal import Journal

logger = logging.getLogger("labrelay.channel")

BACKLOG_BYTES = 32 * 1024 * 1024  # of a channel's messages wait for the journal; further ones are dropped and counted
BACKLOG_MESSAGES = 10_000
LATELY = 12  # messages that the page shows
QUERIES = ("QRY", "QBP", "Q")  # MSH-9.1 of a query, and the name for an ASTM header before a query record


@dataclass(slots=True)
class TeeCounts:
    """Counts since the start, by sender.

    Attributes:
        seen: messages, and data that never became one.
        answered: of those, by the answer of the other side.
        not_kept: messages of either side that the journal does not have.
    """

    seen: Counter[Direction] = field(default_factory=Counter)
    answered: Counter[tuple[Direction, Answered]] = field(default_factory=Counter)
    not_kept: int = 0


@dataclass(frozen=True, slots=True)
class PassedMessage:
    """One message that passed, as the page shows it."""

    at_us: int
    way: Direction
    size: int
    whole: bool
    answered: Answered


class _Mute:
    """The link of a channel without answers (`engine.model.ports.Link`)."""

    held = 0

    def receive(self, data: bytes, now: float) -> list[LinkEvent]:
        return []

    def committed(self, now: float) -> None: ...

    def failed(self, now: float) -> None: ...

    def outgoing(self) -> bytes:
        return b""

    def deadline(self) -> float | None:
        return None

    def tick(self, now: float) -> list[LinkEvent]:
        return []

    def closed(self) -> list[LinkEvent]:
        return []

    def wrap(self, payload: bytes) -> bytes:
        return b""


@dataclass(slots=True)
class _Line:
    """One connection, as its listener hears it."""

    connection: Connection
    listener: TeeLink
    backlog: deque[tuple[OverheardMessage, Received]] = field(default_factory=deque)
    more: asyncio.Event = field(default_factory=asyncio.Event)
    over: bool = False


class TeeChannel(Channel):
    """Listen to every line of one channel."""

    def __init__(
        self,
        settings: ChannelSettings,
        *,
        new_listener: Callable[[], TeeLink],
        message_format: Format,
        journal: "Journal",
        stored: Callable[[Stored], None],
        clock: Clock,
        memory: ReceiveMemory | None = None,
    ) -> None:
        super().__init__(
            settings,
            new_link=_Mute,
            message_format=message_format,
            answer=None,
            journal=journal,
            stored=stored,
            clock=clock,
            memory=memory,
        )
        self._new_listener = new_listener
        self._waiting = 0  # messages in all backlogs ...
        self._waiting_bytes = 0  # ... and their bytes
        self._lines: dict[int, _Line] = {}
        self.tee = TeeCounts()
        self.lately: deque[PassedMessage] = deque(maxlen=LATELY)

    @property
    def receiving(self) -> bool:
        """Whether a message is passing on any line now."""
        return any(line.listener.receiving for line in self._lines.values())

    async def handle(self, stream: Stream, *, own: bool = False) -> None:
        """Listen to one line until it is gone. Never raises for data that passes."""
        now = self._clock.monotonic()
        connection = Connection(stream, _Mute(), opened=now, last_byte=now)
        line = _Line(connection, self._new_listener())
        self.connections[id(connection)] = connection
        self._lines[id(connection)] = line
        self.counts.connections += 1
        keeping = asyncio.get_running_loop().create_task(self._keep_all(line))
        try:
            await self._listen(line, cast(TappedStream, stream))
            self._take_heard(line, line.listener.closed)
            self._gone(line)
            await asyncio.wait({keeping})
        finally:
            self._gone(line)
            keeping.cancel()
            await asyncio.gather(keeping, return_exceptions=True)
            self._give_up(line, len(line.backlog))

    def _gone(self, line: _Line) -> None:
        self.connections.pop(id(line.connection), None)
        self._lines.pop(id(line.connection), None)
        self._memory.forget(line.connection)
        line.over = True
        line.more.set()

    # -- hearing -----------------------------------------------------------------------------------------------

    async def _listen(self, line: _Line, hearing: TappedStream) -> None:
        opening = self.settings.opening
        doors = {} if opening is None else {way: Door(opening) for way in Direction}
        while True:
            due = line.listener.deadline()
            try:
                passed = await hearing.hear(None if due is None else due - self._clock.monotonic())
            except TimeoutError:
                self._take_heard(line, partial(line.listener.tick, self._clock.monotonic()))
                continue
            if passed is None:
                return
            way, data = passed
            line.connection.last_byte = now = self._clock.monotonic()
            if data and (door := doors.get(way)) is not None:
                if (fault := door.hear(data)) is not None:
                    self.monitor.turned_away(fault, line.connection.peer, is_check=door.is_check)
                    line.listener = self._new_listener()
                    return
                if door.holds:
                    continue
                if door.open:
                    del doors[way]
                data = door.release()
            if data:
                self._take_heard(line, partial(line.listener.hear, way, data, now))
            else:
                self._missed(line, "too much at once")

    def _take_heard(self, line: _Line, listen: Callable[[], list[TeeEvent]]) -> None:
        """Take the findings of a listener. One that fails is replaced, so that listening goes on as long as the line
        does.
        """
        try:
            events = listen()
        except Exception:
            logger.exception("listening failed inside LabRelay", extra={"channel": self.settings.name})
            line.listener = self._new_listener()
            self._lose(line, "listener-failed", 1)
            return
        for event in events:
            if isinstance(event, OverheardMessage):
                self._put(line, event)
            else:
                self.monitor.fault(event, line.connection.peer)
        self._memory.note(line.connection, line.listener.held, partial(self._missed, line, "no memory"))

    def _missed(self, line: _Line, why: str) -> None:
        """Bytes passed unread, so the listener's state is useless: it begins anew."""
        left, line.listener = line.listener, self._new_listener()
        self._lose(line, "unheard", 1, why)
        self._memory.forget(line.connection)
        for event in left.closed():
            if isinstance(event, OverheardMessage):
                self._put(line, replace(event, whole=False))

    def _put(self, line: _Line, heard: OverheardMessage) -> None:
        self.tee.seen[heard.way] += 1
        self.tee.answered[heard.way, heard.answered] += 1
        size = len(heard.payload)
        self.lately.append(PassedMessage(self._clock.now_us(), heard.way, size, heard.whole, heard.answered))
        if self._waiting >= BACKLOG_MESSAGES or self._waiting_bytes + size > BACKLOG_BYTES:
            self._lose(line, "not-kept", 1)
            return
        self._waiting += 1
        self._waiting_bytes += size
        line.backlog.append((heard, self._record(line.connection, heard)))
        line.more.set()

    def _record(self, connection: Connection, heard: OverheardMessage) -> Received:
        """The message for the journal. Only data of the analyzer can be a result, and a query is none."""
        from_middleware = heard.way is Direction.MIDDLEWARE
        notes = (*(("from the middleware",) if from_middleware else ()), *heard.notes)
        received = self._received(connection, heard.payload, notes)
        line = (
            None
            if heard.answered is Answered.ACCEPTED
            else Line(host_of(connection.peer), ended_us=received.received_us)
        )
        overheard = from_middleware or received.message_type.partition("^")[0] in QUERIES
        return replace(received, filtered=ReasonCode.OVERHEARD if overheard and heard.whole else None, line=line)

    # -- keeping -----------------------------------------------------------------------------------------------

    async def _keep_all(self, line: _Line) -> None:
        """Journal the messages of the backlog, in order, until the line is gone and none waits."""
        while line.backlog or not line.over:
            if not line.backlog:
                line.more.clear()
                await line.more.wait()
                continue
            heard, received = line.backlog[0]
            try:
                if not await self._keep(line, heard, received):
                    return
            except Exception:  # P7: an error of ours costs this one message
                logger.exception("keeping failed inside LabRelay", extra={"channel": self.settings.name})
                self._lose(line, "not-kept", 1)
            line.backlog.popleft()
            self._let_go(received)

    async def _keep(self, line: _Line, heard: OverheardMessage, received: Received) -> bool:
        """Retry until it is stored; False where there will be no more attempts."""
        if heard.whole:
            attempt = partial(
                self._journal.run, append.store_message, received, repeat_window_s=self.settings.repeat_window_s
            )
        else:
            attempt = partial(self._journal.run, append.store_incomplete, received, ReasonCode.INCOMPLETE)
        while (error := await self._try(attempt, partial(self._kept_one, heard))) is not None:
            self._store_failed(line.connection.peer, error)
            if error.fatal or self.unkept.stopping:
                return False
            await asyncio.sleep(STORE_RETRY_S)
        return True

    async def _try(
        self, attempt: "Callable[[], asyncio.Future[Stored]]", hand_on: Callable[[Stored], None]
    ) -> StoreError | None:
        try:
            error = await self._kept(attempt(), hand_on)
        except StoreError as refused:
            return refused
        if error is not None and not isinstance(error, StoreError):
            raise error
        return error

    def _kept_one(self, heard: OverheardMessage, stored: Stored) -> None:
        if not heard.whole:
            return
        if heard.way is Direction.ANALYZER:
            self._accept(stored)
        else:  # no sign of life from the analyzer
            self._stored(stored)

    def _store_failed(self, peer: str, error: StoreError) -> None:
        self.counts.store_fault = (str(error), self._clock.monotonic())
        self.counts.faults["store-failed"] += 1
        logger.error(
            "cannot store what passed a tee", extra={"channel": self.settings.name, "peer": peer, "detail": str(error)}
        )

    def _let_go(self, received: Received) -> None:
        self._waiting -= 1
        self._waiting_bytes -= len(received.payload)

    def _give_up(self, line: _Line, count: int) -> None:
        """LabRelay stops while the journal cannot store anything."""
        if count:
            self._lose(line, "not-kept", count)
        while line.backlog:
            self._let_go(line.backlog.popleft()[1])

    def _lose(self, line: _Line, kind: str, count: int, detail: str = "") -> None:
        self.tee.not_kept += count
        said = f"{count} messages that passed are not in the journal{': ' if detail else ''}{detail}"
        self.monitor.fault(LinkFault(kind, said), line.connection.peer)
