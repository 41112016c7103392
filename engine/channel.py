"""One connection: stream -> link -> journal -> answer. The only place where bytes are acknowledged.

    read bytes, let the link find what they complete, store it, and only then answer.

Invariant (P1): an answer that takes responsibility (AA, CA, a frame's ACK) is written after the journal's future for
those bytes has resolved, and that future resolves only after commit, sync and anchor. There is no other path to
``stream.write`` of such an answer in this module.
"""

import asyncio
import logging
from collections import Counter, OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Protocol

from engine.clock import Clock
from engine.errors import StoreError
from engine.message import Block, Frame, LinkEvent, LinkFault, Received, SessionEnd, Stored
from engine.ports import Format, Link, Stream
from engine.reasons import Reason

logger = logging.getLogger("labrelay." + __name__)

STORE_RETRY_S = 1.0  # between attempts to keep what no answer of ours can ask the sender to repeat
MESSAGES_AT_ONCE = 64  # of one block handed to the journal before waiting: bounds memory for a batch file


class Store(Protocol):
    """What a channel needs of the journal."""

    def append(self, received: Received, *, repeat_window_s: float) -> "asyncio.Future[Stored]": ...
    def append_frame(self, channel: str, session: int, raw: bytes, received_us: int) -> "asyncio.Future[int]": ...
    def append_frame_completing(
        self,
        channel: str,
        session: int,
        raw: bytes,
        received_us: int,
        messages: Sequence[Received],
        repeat_window_s: float,
    ) -> "asyncio.Future[list[Stored]]": ...
    def append_incomplete(
        self, received: Received, reason: Reason, *, session: int | None = None
    ) -> "asyncio.Future[Stored]": ...
    def new_session(self) -> int: ...


class Answer(Protocol):
    """Build the application's answers to one block, of which all messages were stored, or not all."""

    def __call__(self, block: bytes, messages: Sequence[bytes], *, stored: bool) -> Sequence[bytes]: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class ChannelSettings:
    """What a connection needs to know of its channel; made from the channel's YAML by the composition root."""

    name: str
    repeat_window_s: float
    idle_timeout_s: float | None
    max_connections: int
    answer_store_fault: bool  # on_store_fault: ae
    eviction_quiet_s: float = 10.0


@dataclass(slots=True)
class Connection:
    """One open connection, as the page shows it."""

    stream: Stream
    link: Link
    opened: float
    last_byte: float
    last_message: float | None = None
    session: int | None = None
    answered_by: Callable[[], None] | None = None

    @property
    def peer(self) -> str:
        return self.stream.peer


@dataclass(slots=True)
class ChannelCounts:
    """What happened on the link since start; the journal's own counters survive a restart, these do not need to."""

    connections: int = 0
    messages: int = 0
    refused: int = 0
    evicted: int = 0
    faults: Counter[str] = field(default_factory=Counter)
    notes: Counter[str] = field(default_factory=Counter)
    last_fault: tuple[str, float] | None = None
    last_message_us: int | None = None


class Channel:
    """Serve every connection of one channel."""

    def __init__(
        self,
        settings: ChannelSettings,
        *,
        new_link: Callable[[], Link],
        message_format: Format,
        answer: Answer | None,
        store: Store,
        stored: Callable[[Stored], None],
        clock: Clock,
    ) -> None:
        """``stored`` is called on the event loop for every message that became durable, in journal order."""
        self.settings = settings
        self._new_link = new_link
        self._format = message_format
        self._answer = answer
        self._store = store
        self._stored = stored
        self._clock = clock
        self._stopping = False
        self.connections: OrderedDict[int, Connection] = OrderedDict()
        self.counts = ChannelCounts()

    async def handle(self, stream: Stream) -> None:
        """Serve one connection until either side ends it. Never raises for what the peer does."""
        now = self._clock.monotonic()
        if not self._admit(now):
            self.counts.refused += 1
            self._fault(LinkFault("too-many-connections"), stream)
            return
        connection = Connection(stream, self._new_link(), opened=now, last_byte=now)
        self.connections[id(connection)] = connection
        self.counts.connections += 1
        try:
            await self._serve(connection)
        except OSError:
            logger.debug("connection lost", extra={"channel": self.settings.name, "peer": stream.peer})
        finally:
            del self.connections[id(connection)]
            # What was left half-way is evidence; the stream is gone, so nobody waits for an answer.
            for event in connection.link.closed():
                await self._take(connection, event)

    def stop(self) -> None:
        """No more waiting for a failing store; open connections are ended by the transport."""
        self._stopping = True

    async def _serve(self, connection: Connection) -> None:
        stream, link = connection.stream, connection.link
        while True:
            try:
                data = await stream.read(self._patience(connection))
            except TimeoutError:
                now = self._clock.monotonic()
                events: Sequence[LinkEvent] = link.tick(now)
                idle = self.settings.idle_timeout_s
                if not events and idle is not None and now - connection.last_byte >= idle:
                    return
            else:
                if not data:
                    return
                now = connection.last_byte = self._clock.monotonic()
                events = link.receive(data, now)
            while True:
                for event in events:
                    if not await self._take(connection, event):
                        return
                out = link.outgoing()
                if out:
                    await stream.write(out)
                if not events:
                    break
                events = link.receive(b"", self._clock.monotonic())

    def _patience(self, connection: Connection) -> float | None:
        """Seconds to wait for bytes before a timer is due."""
        due = connection.link.deadline()
        idle = self.settings.idle_timeout_s
        if idle is not None:
            idle_at = connection.last_byte + idle
            due = idle_at if due is None or idle_at < due else due
        return None if due is None else due - self._clock.monotonic()

    async def _take(self, connection: Connection, event: LinkEvent) -> bool:
        """Act on one event. False: the connection must be closed now."""
        if isinstance(event, Block):
            return await self._take_block(connection, event)
        if isinstance(event, Frame):
            return await self._take_frame(connection, event)
        if isinstance(event, SessionEnd):
            await self._take_session_end(connection, event)
            return True
        self._fault(event, connection.stream)
        return not event.fatal

    # -- whole messages (MLLP) ---------------------------------------------------------------------------------

    async def _take_block(self, connection: Connection, block: Block) -> bool:
        if block.notes:
            self.counts.notes.update(block.notes)
        messages = self._format.split(block.payload)
        stored = True
        for start in range(0, len(messages), MESSAGES_AT_ONCE):
            try:
                # All are on their way before the first wait: one sync keeps them all.
                part = messages[start : start + MESSAGES_AT_ONCE]
                for future in [self._append(connection, payload, block.notes) for payload in part]:
                    await future
            except StoreError as error:
                # P1: what could not be stored is not answered, and the socket closed, so that the sender sends again.
                self._store_fault(connection, error)
                if not self.settings.answer_store_fault or error.fatal:
                    return False
                stored = False
                break
        connection.last_message = connection.last_byte
        if self._answer is not None:
            answers = self._answer(block.payload, messages, stored=stored)
            if answers:
                await connection.stream.write(b"".join([connection.link.wrap(answer) for answer in answers]))
        return True

    def _append(self, connection: Connection, payload: bytes, notes: tuple[str, ...]) -> "asyncio.Future[Stored]":
        received = self._received(connection, payload, notes)
        future = self._store.append(received, repeat_window_s=self.settings.repeat_window_s)
        future.add_done_callback(self._hand_on)
        return future

    def _received(self, connection: Connection, payload: bytes, notes: tuple[str, ...] = ()) -> Received:
        header = self._format.header(payload)
        return Received(
            channel=self.settings.name,
            payload=payload,
            received_us=self._clock.now_us(),
            peer=connection.stream.peer,
            control_id=header.control_id,
            message_type=header.message_type,
            notes=notes,
        )

    def _hand_on(self, future: "asyncio.Future[Stored]") -> None:
        # A callback of the future, not the code after the await: a message whose connection is gone is processed too.
        if not future.cancelled() and future.exception() is None:
            self._note(future.result())

    # -- frames (ASTM) -----------------------------------------------------------------------------------------

    async def _take_frame(self, connection: Connection, frame: Frame) -> bool:
        if connection.session is None:
            connection.session = self._store.new_session()
        now_us = self._clock.now_us()
        name = self.settings.name
        try:
            if frame.completes:
                messages = [self._received(connection, text) for text in frame.completes]
                future = self._store.append_frame_completing(
                    name, connection.session, frame.raw, now_us, messages, self.settings.repeat_window_s
                )
                future.add_done_callback(self._hand_on_all)
                await future
                connection.last_message = connection.last_byte
            elif frame.durable:
                await self._store.append_frame(name, connection.session, frame.raw, now_us)
        except StoreError as error:
            self._store_fault(connection, error)
            connection.link.failed(self._clock.monotonic())
            return not error.fatal
        connection.link.committed(self._clock.monotonic())
        return True

    def _hand_on_all(self, future: "asyncio.Future[list[Stored]]") -> None:
        if not future.cancelled() and future.exception() is None:
            for stored in future.result():
                self._note(stored)

    async def _take_session_end(self, connection: Connection, end: SessionEnd) -> None:
        """EOT is not acknowledged: nobody will send this again, so it is tried until it is stored or we stop."""
        session, connection.session = connection.session, None
        for text in end.completes:
            received = self._received(connection, text)
            append = partial(self._store.append, received, repeat_window_s=self.settings.repeat_window_s)
            stored = await self._insist(connection, append)
            if stored is not None:
                self._note(stored)
        if end.incomplete:
            received = self._received(connection, end.incomplete)
            await self._insist(
                connection, partial(self._store.append_incomplete, received, Reason.INCOMPLETE, session=session)
            )

    async def _insist(self, connection: Connection, append: "Callable[[], asyncio.Future[Stored]]") -> Stored | None:
        while True:
            try:
                return await append()
            except StoreError as error:
                self._store_fault(connection, error)
                if error.fatal or self._stopping:
                    return None
                await asyncio.sleep(STORE_RETRY_S)

    def _note(self, stored: Stored) -> None:
        self.counts.messages += 1
        self.counts.last_message_us = stored.received_us
        self._stored(stored)

    # -- limits and faults -------------------------------------------------------------------------------------

    def _admit(self, now: float) -> bool:
        """Whether there is room for one more connection, making room where a peer only holds a place.

        The connection longest without a byte goes first, and only if it has been quiet for a while: an analyzer that
        sends is never evicted by newcomers, and a crowd of idle sockets cannot keep an analyzer out.
        """
        if len(self.connections) < self.settings.max_connections:
            return True
        useless = [c for c in self.connections.values() if c.last_message is None] or list(self.connections.values())
        quietest = min(useless, key=lambda c: c.opened if c.last_message is None else c.last_byte)
        quiet_since = quietest.opened if quietest.last_message is None else quietest.last_byte
        if now - quiet_since < self.settings.eviction_quiet_s:
            return False
        self.counts.evicted += 1
        self._fault(LinkFault("evicted"), quietest.stream)
        quietest.stream.end()
        return True

    def _fault(self, fault: LinkFault, stream: Stream) -> None:
        self.counts.faults[fault.kind] += 1
        self.counts.last_fault = (fault.kind, self._clock.monotonic())
        logger.info(
            "link fault",
            extra={"channel": self.settings.name, "peer": stream.peer, "fault": fault.kind, "detail": fault.detail},
        )

    def _store_fault(self, connection: Connection, error: StoreError) -> None:
        self.counts.faults["not-stored"] += 1
        self.counts.last_fault = ("not-stored", self._clock.monotonic())
        logger.error(
            "cannot store, so nothing is acknowledged",
            extra={"channel": self.settings.name, "peer": connection.peer, "detail": str(error)},
        )
