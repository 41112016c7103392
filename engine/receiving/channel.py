"""One connection: stream -> link -> journal -> answer. Bytes are acknowledged here.

    Read bytes, let the link find the units that they complete, store these, and only then answer.

Invariant (P1): an answer that takes responsibility (AA, CA, a frame's ACK) is written after the journal's future for
those bytes has resolved, and that future resolves only after commit, sync and the attempt to write the anchor. With
``commit: message`` a site accepts less: of the frames of a message only the ACK of the last one waits for the journal.
There is no other path to ``stream.write`` of such an answer.
"""

import asyncio
import contextlib
import logging
from collections import OrderedDict
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar, cast

from engine.model.errors import StoreError
from engine.model.link_events import Block, Frame, LinkEvent, LinkFault, SessionEnd
from engine.model.message import Received, Stored
from engine.model.ports import EndedStream, Format, Link, Stream, TracedLink
from engine.model.process.clock import Clock
from engine.model.process.receive_memory import SMALL_BYTES, ReceiveMemory
from engine.model.texts.reasons import ReasonCode
from engine.receiving import channel_parts, large
from engine.receiving.admission import Backlog, cut, first_bytes, make_room
from engine.receiving.door import Door
from engine.receiving.large import prepared
from engine.receiving.link_monitor import LinkMonitor, append_result
from engine.receiving.outcomes import Outcomes, all_delivered
from engine.receiving.unstored import Evidence, UnstoredMessages
from engine.store.operations import append, servers
from engine.store.operations.line_trace import LineRecord, LineTrace

if TYPE_CHECKING:
    from engine.store.journal import Journal

logger = logging.getLogger("labrelay.channel")

MESSAGES_AT_ONCE = 64  # of one block, handed to the journal before waiting: bounds memory for a batch file

T = TypeVar("T")


class Channel:
    """Serve every connection of one channel."""

    def __init__(
        self,
        settings: channel_parts.ChannelSettings,
        *,
        new_link: Callable[[], Link],
        message_format: Format,
        answer: channel_parts.Answer | None,
        journal: "Journal",
        stored: Callable[[Stored], None],
        clock: Clock,
        outcomes: Outcomes | None = None,
        memory: ReceiveMemory | None = None,
        desk: channel_parts.QuestionDesk | None = None,
        orders: channel_parts.OrderAnswers | None = None,
        answered: Callable[[str, Sequence[int]], None] = lambda channel, message_ids: None,
        unjudged: Callable[[str], int] = lambda channel: 0,
    ) -> None:
        """
        Args:
            stored: called on the event loop for every message that became durable, in journal order.
            answered: called with this channel's name and the messages whose answers were written.
            outcomes: needed with ``ack_timeout_s``.
            memory: shared by all channels of a process.
            desk: of a channel whose analyzer gets orders; its link is a `engine.model.ports.TwoWayLink`.
            orders: of a channel that brings orders, and whose sender reads answers.
            unjudged: channel -> bytes of its messages that are durable and have no outcome.
        """
        self.settings = settings
        self._new_link = new_link
        self._format = message_format
        self._answer = answer
        self._journal = journal
        self._stored = stored
        self._on_answered = answered
        self._clock = clock
        self._memory = memory if memory is not None else ReceiveMemory()
        self._desk = desk
        self._orders = orders
        waits = outcomes is not None and settings.ack_timeout_s is not None
        self._expect = orders.expect if orders is not None else cast(Outcomes, outcomes).of if waits else None
        self.backlog = Backlog(partial(unjudged, settings.name))
        self.unkept = UnstoredMessages(self._kept)
        self.connections: OrderedDict[int, channel_parts.Connection] = OrderedDict()
        self.monitor = LinkMonitor(settings.name, clock)
        self.counts = self.monitor.counts
        self.last_line: LineRecord | None = None  # the latest session that a line has ended

    async def handle(self, stream: Stream, *, own: bool = False) -> None:
        """Serve one connection until either side ends it; never raises. ``own``: it is ours, for orders."""
        now = self._clock.monotonic()
        make_room(self.connections, self.settings.max_connections, self.monitor)
        connection = channel_parts.Connection(stream, self._new_link(), opened=now, last_byte=now, own=own)
        if (opening := self.settings.opening) is not None and not own:
            connection.door = Door(opening)
        if getattr(connection.link, "traced", False):
            connection.trace = LineTrace()
        elif self._desk is not None:
            connection.trace = LineTrace(answers_only=True)
        self.connections[id(connection)] = connection
        self.counts.connections += 1
        if self._desk is not None:
            self._desk.opened(connection)
        theirs = False
        try:
            await self.unkept.keep_left(partial(self.monitor.store_failed, connection.peer))
            theirs = await self._serve(connection)
        except OSError:
            logger.debug("connection lost", extra={"channel": self.settings.name, "peer": stream.peer})
        finally:
            connection.line.end(self._clock.now_us())
            self.connections.pop(id(connection), None)
            self.counts.stray_bytes += int(getattr(connection.link, "stray", 0))  # of links with sessions
            if connection.refused and not theirs:
                await large.throw_away(stream)
            if not theirs:
                await stream.close()  # before slow work: a peer without its answer must see the end
            await self._put_aside(connection)
            self._memory.forget(connection)

    async def _put_aside(self, connection: channel_parts.Connection) -> None:
        """Store what is incomplete when the stream ends: evidence, or a last message that only the end completes."""
        for event in connection.link.closed():
            if connection.turned_away:
                continue
            with contextlib.suppress(OSError):  # the peer that the answer is for may be gone
                await self._take(connection, event)
        if self._desk is not None:
            self._desk.closed(connection)
        if connection.trace is not None:
            self._keep_line(connection, connection.trace)

    def begin(self) -> None:
        """Accept connections (again)."""
        self.unkept.stopping = False

    def stop(self) -> None:
        """Stop waiting for a failing store; the transport ends open connections."""
        self.unkept.stopping = True

    async def _serve(self, connection: channel_parts.Connection) -> bool:
        """Read, store, answer. True: the peer has ended the stream; False: we must close it."""
        stream, link, trace = connection.stream, connection.link, connection.trace
        while True:
            try:
                data = await (
                    stream.read(self._patience(connection))
                    if connection.door is None
                    else first_bytes(
                        connection, connection.door, partial(self._patience, connection), self.monitor, self._clock
                    )
                )
            except TimeoutError:
                now = self._clock.monotonic()
                events: Sequence[LinkEvent] = link.tick(now)
                idle = self.settings.idle_timeout_s
                if not events and idle is not None and now - connection.last_byte >= idle:
                    return False
            else:
                if not data:
                    return not (connection.evicted or connection.turned_away)
                now = connection.last_byte = self._clock.monotonic()
                if trace is not None:
                    trace.heard(data, self._clock.now_us())
                events = link.receive(data, now)
                if (held := link.held) >= SMALL_BYTES or connection.held:
                    self._memory.note(connection, held, partial(cut, connection, self.monitor))
            has_waited = False
            while True:
                for event in events:
                    if not has_waited and (isinstance(event, Block) or _completes(event)):
                        has_waited = True
                        if pause_s := self.backlog.pause_s:
                            await asyncio.sleep(pause_s)
                    goes_on = await self._take(connection, event)
                    del event  # a large message is freed before the next one comes
                    if not goes_on or connection.unread:
                        return False
                out = link.outgoing()
                if out:
                    await stream.write(out)
                    if trace is not None:
                        trace.said(out, self._clock.now_us())
                if connection.unanswered:
                    await self._was_answered(connection)
                if self._desk is not None:
                    self._desk.spoken(connection)
                if trace is not None and connection.ended is not None:
                    self._keep_line(connection, trace)
                if not events:
                    break
                events = link.receive(b"", self._clock.monotonic())
            if trace is not None and cast(TracedLink, link).resting:
                self._keep_line(connection, trace)

    async def _was_answered(self, connection: channel_parts.Connection) -> None:
        """Record that all answers are written; a sender that may not have received them will send again."""
        answered, connection.unanswered = connection.unanswered, []
        if not connection.line.gone() or await cast(EndedStream, connection.stream).took():
            self._journal.answered(self.settings.name, answered)
            self._on_answered(self.settings.name, answered)

    def _refused(self, connection: channel_parts.Connection) -> None:
        """Record that the sender was refused: it will send again what is already stored."""
        connection.line.end(self._clock.now_us())
        connection.line = connection.new_line()
        connection.unanswered = []

    def _patience(self, connection: channel_parts.Connection) -> float | None:
        """Seconds to wait for bytes before a timer is due."""
        if connection.speaks_now():
            return 0.0
        due = connection.link.deadline()
        idle = self.settings.idle_timeout_s
        if idle is not None:
            idle_at = connection.last_byte + idle
            due = idle_at if due is None or idle_at < due else due
        return None if due is None else due - self._clock.monotonic()

    async def _take(self, connection: channel_parts.Connection, event: LinkEvent) -> bool:
        """Handle one event. False: the connection must be closed now."""
        if isinstance(event, Block):
            return await self._take_block(connection, event)
        if isinstance(event, Frame):
            return await self._take_frame(connection, event)
        if isinstance(event, SessionEnd):
            await self._take_session_end(connection, event)
            return True
        if connection.trace is not None:
            said = f"{event.kind}: {event.detail}" if event.detail else event.kind
            connection.trace.about(said, self._clock.now_us())
        self.monitor.fault(event, connection.peer)
        return not event.fatal

    def _keep_line(self, connection: channel_parts.Connection, trace: LineTrace) -> None:
        """Store the line trace; called when a session is over, nothing is under way, or the line is gone."""
        record: LineRecord | None = None
        link = cast(TracedLink, connection.link)
        if connection.ended is not None:
            session, cause = connection.ended
            connection.ended = None
            record = trace.session_over(self.settings.name, session, cause)
        elif not link.traced and not trace.answers_only:  # it has turned out to be another kind of line
            trace.clear()
        else:
            record = trace.at_rest(self.settings.name)
        if record is not None:
            self.last_line = record
            self._journal.keep_line(record)

    # -- whole messages (MLLP) ---------------------------------------------------------------------------------

    async def _take_block(self, connection: channel_parts.Connection, block: Block) -> bool:
        if block.notes:
            self.counts.notes.update(block.notes)
        # What is polled is one message: its place there becomes durable with it.
        messages = [block.payload] if connection.polled is not None else self._split(block.payload)
        stored = delivered = True
        awaited: list[asyncio.Future[Any]] = []
        try:
            with self.backlog.taking(len(block.payload)) as durable:
                for start in range(0, len(messages), MESSAGES_AT_ONCE):
                    # All are submitted before the first wait: one sync stores them all.
                    part = messages[start : start + MESSAGES_AT_ONCE]
                    ready = [await prepared(self._received(connection, payload, block.notes)) for payload in part]
                    submitted = [self._append(connection, received, awaited) for received in ready]
                    for payload, kept in zip(part, submitted, strict=True):
                        channel_parts.raise_if(await kept)
                        durable(len(payload))
        except StoreError as error:
            # P1: an unstored block is not answered, and the socket is closed, so that the sender sends again.
            self.monitor.store_failed(connection.peer, error)
            if not self.settings.answer_store_fault or error.fatal:
                return False
            stored = False
        if stored:
            connection.link.committed(self._clock.monotonic())
        connection.last_message = connection.last_byte
        if stored and self._orders is not None:
            said = await self._orders.answers(block.payload, messages, awaited)
            await connection.stream.write(b"".join([connection.link.wrap(answer) for answer in said or ()]))
            return said is not None
        how = connection.how_acknowledged(alone=stored and len(messages) == 1)
        if self._answer is not None and how is not channel_parts.Acknowledged.NOT:
            commit = how is channel_parts.Acknowledged.COMMIT
            if stored and awaited and not commit:
                delivered = await all_delivered(awaited, self.settings.ack_timeout_s)
            answers = self._answer(block.payload, messages, stored=stored, delivered=delivered, commit=commit)
            if not (stored and delivered):
                self._refused(connection)
            if answers:
                await connection.stream.write(b"".join([connection.link.wrap(answer) for answer in answers]))
        return True

    def _split(self, block: bytes) -> list[bytes]:
        try:
            return self._format.split(block)
        except Exception:  # an error of ours: the bytes are stored all the same, and will be a dead letter
            logger.exception("cannot split a block into messages", extra={"channel": self.settings.name})
            return [block]

    def _append(
        self, connection: channel_parts.Connection, received: Received, awaited: "list[asyncio.Future[Any]]"
    ) -> "asyncio.Future[BaseException | None]":
        if connection.polled is not None:
            future = self._journal.run(servers.store_polled, received, connection.polled)
        else:
            future = self._journal.run(append.store_message, received, repeat_window_s=self.settings.repeat_window_s)
        if self._expect is None:
            return self._kept(future, partial(self._durable, connection))
        return self._kept(future, lambda stored: self._durable_awaited(connection, stored, awaited))

    def _durable(self, connection: channel_parts.Connection, stored: Stored) -> None:
        connection.unanswered.append(stored.id if stored.repeat_of is None else stored.repeat_of)
        try:
            self._accept(stored)
        finally:  # whatever fails there, a question gets its answer
            if self._desk is not None:
                self._desk.durable(connection, stored)

    def _durable_awaited(
        self, connection: channel_parts.Connection, stored: Stored, awaited: "list[asyncio.Future[Any]]"
    ) -> None:
        """Register for the outcome before intake can have it."""
        assert self._expect is not None
        awaited.append(self._expect(stored))
        self._durable(connection, stored)

    def _kept(
        self, future: "asyncio.Future[T]", hand_on: Callable[[T], None] = lambda result: None
    ) -> "asyncio.Future[BaseException | None]":
        return append_result(future, self.monitor, hand_on)

    def _received(self, connection: channel_parts.Connection, payload: bytes, notes: tuple[str, ...] = ()) -> Received:
        header = self._format.header(payload)
        return Received(
            channel=self.settings.name, payload=payload, received_us=self._clock.now_us(), peer=connection.stream.peer,
            control_id=header.control_id, message_type=header.message_type, notes=notes, sent=header.sent,
            measured=header.measured, line=connection.line,
            filtered=ReasonCode.DRAFT if self.settings.is_draft else None,
        )  # fmt: skip

    # -- frames (ASTM) -----------------------------------------------------------------------------------------

    async def _take_frame(self, connection: channel_parts.Connection, frame: Frame) -> bool:
        if connection.session is None:
            connection.session = self._journal.new_session()
        now_us = self._clock.now_us()
        name = self.settings.name
        try:
            with self.backlog.taking(sum(map(len, frame.completes)), may_refuse=self.settings.is_awaited):
                if frame.completes:
                    messages = [self._received(connection, text) for text in frame.completes]
                    future = self._journal.run(
                        append.store_completing_frame,
                        name,
                        connection.session,
                        frame.raw,
                        now_us,
                        messages,
                        repeat_window_s=self.settings.repeat_window_s,
                    )
                    channel_parts.raise_if(await self._kept(future, partial(self._all_durable, connection)))
                    connection.last_message = connection.last_byte
                elif frame.durable:
                    # A durable frame has no consequence but its ACK, so its own future is waited for: cancelling the
                    # wait cancels that future, and leaves the frame in the journal.
                    await self._journal.run(append.store_frame, name, connection.session, frame.raw, now_us)
                    if self.counts.store_fault is not None:
                        self.monitor.stores_again()
        except StoreError as error:
            if connection.trace is not None:
                connection.trace.about("not stored, so refused", self._clock.now_us())
            self.monitor.store_failed(connection.peer, error)
            connection.link.failed(self._clock.monotonic())
            return not error.fatal
        connection.link.committed(self._clock.monotonic())
        return True

    async def _take_session_end(self, connection: channel_parts.Connection, end: SessionEnd) -> None:
        """Most analyzers expect no answer to EOT and do not send this again, so it is retried until it is stored or we
        stop. An answer (`acks: session`) is withheld where it is not stored.
        """
        session, connection.session = connection.session or 0, None
        connection.ended = (session, end.cause)
        window_s = self.settings.repeat_window_s
        kept, stored = partial(self._durable, connection), True
        for text in end.completes:
            whole = partial(
                self._journal.run, append.store_message, self._received(connection, text), repeat_window_s=window_s
            )
            stored &= await self._insist(connection, len(text), partial(whole, session=session), kept)
        if end.too_large:
            await self._take_overlong(connection, end.incomplete, session)
        elif end.incomplete:
            torn = partial(
                self._journal.run,
                append.store_incomplete,
                self._received(connection, end.incomplete),
                ReasonCode.INCOMPLETE,
            )
            stored &= await self._insist(connection, len(end.incomplete), partial(torn, session=session))
        if not stored:
            connection.link.outgoing()
            self._refused(connection)

    async def _take_overlong(self, connection: channel_parts.Connection, whole: bytes, session: int) -> None:
        """Keep the beginning of a message over `max_message`, and reject it where the format can express that."""
        limit = self.settings.max_message
        head = whole[: large.KEPT_BYTES]
        received = await large.beginning(self._received(connection, head), whole, limit)
        torn = partial(self._journal.run, append.store_incomplete, received, ReasonCode.TOO_LARGE, session=session)
        await self._insist(connection, len(head), torn)
        if self._answer is not None and not self._format.header(head).problem:
            refused = large.refusal(limit)
            answers = self._answer(head, [head], stored=False, delivered=True, refused=refused)
            with contextlib.suppress(OSError):  # the peer may be gone
                await connection.stream.write(b"".join([connection.link.wrap(answer) for answer in answers]))
                connection.refused = True

    async def _insist(
        self,
        connection: channel_parts.Connection,
        size: int,
        begin: "Callable[[], asyncio.Future[Stored]]",
        hand_on: Callable[[Stored], None] = lambda stored: None,
    ) -> bool:
        """Retry until it is stored or we stop; return whether it is stored."""
        one = Evidence(size, begin, hand_on)
        if not await self.unkept.insist(one, partial(self.monitor.store_failed, connection.peer)):
            # A peer that leaves messages incomplete while nothing can be stored must not fill the memory. The
            # acknowledged parts are in the journal, frame by frame.
            self.monitor.fault(LinkFault("evidence-not-kept", f"{size} bytes"), connection.peer)
        return one.durable

    def _all_durable(self, connection: channel_parts.Connection, messages: Sequence[Stored]) -> None:
        for stored in messages:
            self._durable(connection, stored)

    def _accept(self, stored: Stored) -> None:
        """Count a durable message, and have it processed."""
        self.monitor.message(stored.received_us)
        self._stored(stored)


def _completes(event: LinkEvent) -> bool:
    """Whether it is the end of a message that came in parts."""
    return isinstance(event, Frame | SessionEnd) and bool(event.completes)
