"""Answer the questions of one channel's analyzer: look up, have the dialogue write, have the link send, note the end.
Messages that no question asked for (`engine.features.orders.exchange.download`) go out while the line rests.

A line has at most one message of ours under way; where the analyzer confirms it by a message (HL7 v2), the next one of
that answer waits for that. An answer is thrown away, and nothing more of it is sent, once its
analyzer has asked again, has taken the question back, or has gone; once it was not begun within the deadline; and once
the analyzer has sent anything else first: then it is looked up anew, for an order may have been cancelled meanwhile.

Promises: the intent to answer is committed before the first byte of it (`worklist.answer`); that it was sent is noted
after the link has said so (`worklist.offered`). What a kill leaves between the two is noted as *maybe known* by the
next start. Logs hold item ids only.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Coroutine, Sequence
from functools import partial
from typing import Any

from engine.features.orders import rows as worklist
from engine.features.orders.exchange import lines
from engine.features.orders.exchange.asking import QUESTION_BYTES, Asking, Notes, about, is_answer, may_ask
from engine.features.orders.exchange.download import PUT_OFF, Downloads, Outlet
from engine.model.content.order_results import has_results, question_in
from engine.model.errors import ContentError
from engine.model.link_events import NotSent, SendEnd, Sent
from engine.model.message import Stored
from engine.model.orders import Confirmation, Reply, Tube
from engine.model.process.clock import Clock
from engine.model.values import changed
from engine.model.worklist import Answered
from engine.receiving.channel_parts import Acknowledged, Connection
from engine.store.journal import Journal

logger = logging.getLogger("labrelay.orders")

# A fault of ours that stays would have an analyzer ask without end: so many within so long end the line at once. After
# them a question that cannot be read is acknowledged as any message is, and a line without its answer ends later.
FAULTS, FAULTS_WITHIN_S, LATER_S = 3, 60.0, 10.0
NOT_READY = frozenset({"late", "fault", "silent"})  # the analyzer has to ask again


class Desk:
    """The desk of one channel, for all its connections (`engine.receiving.channel_parts.QuestionDesk`)."""

    def __init__(self, channel: str, asking: Callable[[], Asking], *, journal: Journal, clock: Clock) -> None:
        """``asking``: as the configuration in force has it."""
        self._channel = channel
        self._asking = asking
        self._journal = journal
        self._notes = Notes(channel, journal)
        self._clock = clock
        self._lines: dict[int, lines.Line] = {}
        self._own = lines.OwnLine(channel, asking, journal=journal, clock=clock)
        self._downloads: tuple[lines.Line, Downloads] | None = None
        self._taking_back = lines.TakingBack(channel, asking, self._take_back, journal=journal, clock=clock)
        self._taken_back_by: lines.Line | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._faults: deque[float] = deque(maxlen=FAULTS)

    # -- called by the channel -----------------------------------------------------------------------------------------

    def opened(self, connection: Connection) -> None:
        if connection.own:
            self._own.opened(connection)
            return
        line = self._lines[id(connection)] = lines.Line(connection)
        line.note_rest()
        self._download_by(line)

    def durable(self, connection: Connection, stored: Stored) -> None:
        line = self._lines.get(id(connection)) or lines.Line(connection, gone=True)
        try:
            self._take(line, stored)
        except Exception:  # an error of ours costs this question alone
            logger.exception("a question cannot be read", extra=self._about(stored.id))
            if may_ask(stored.payload) and not self._fault_stays():
                connection.acknowledged = Acknowledged.NOT
                connection.unread = True

    def _take(self, line: lines.Line, stored: Stored) -> None:
        connection = line.connection
        self._put_off(line)
        if len(stored.payload) > QUESTION_BYTES:
            self._look_up_anew(line)
            return
        asking = self._asking()
        try:
            parsed = asking.message_format.parse(stored.payload, asking.options)
            question = question_in(parsed, asking.dialogue)
            said = asking.dialogue.confirmation(parsed) if question is None else None
        except ContentError:  # it becomes a dead letter
            return
        if question is not None or (is_answer(parsed) and not has_results(parsed)):
            connection.acknowledged = Acknowledged.COMMIT
        if said is not None:
            sent = self._own.confirmed(said.of) if connection.own else line.awaited.pop(said.of)
            self._confirmed(line, stored.id, said, sent)
        if question is not None and connection.own:
            logger.warning("a question on our own connection is not answered", extra=self._about(stored.id))
            connection.stream.end()
            return
        if question is None:
            self._look_up_anew(line)
            return
        if line.gone:  # its analyzer asks again
            return
        self._drop(line, "cancelled" if question.kind == "cancel" else "asked_again")
        if question.takes_back and not asking.own_line and not line.takes_back:
            line.takes_back = True
            self._take_back_by(line)
        waits_s = asking.waits_s(question)
        due = self._clock.monotonic() + waits_s
        answering = line.answering = lines.Answering(stored.id, parsed, question, due, asking.is_committed(parsed))
        answering.timer = asyncio.get_running_loop().call_later(waits_s, self._drop_if, line, answering, "late")
        if question.kind != "cancel":
            self._look_up(line, answering, asking)
            return
        self._notes.note(worklist.answer, stored.id, question, asking.settings)
        if self._write(line, answering, asking, ()):
            connection.acknowledged = Acknowledged.NOT
            self._send_next(line)
        else:
            self._end(line, answering)

    def spoken(self, connection: Connection) -> None:
        if connection.own:
            self._own.spoken()
        elif (line := self._lines.get(id(connection))) is not None:
            self._note_ends(line)
            line.note_rest()

    def closed(self, connection: Connection) -> None:
        line = self._lines.pop(id(connection), None)
        if connection.own:
            self._own.closed()
            return
        if line is None:
            return
        self._note_ends(line)
        if line.answering is not None:
            self._give_up(line.answering, "closed")
        for sent in line.awaited.left():
            if sent.cancels:
                continue
            self._notes.note(worklist.not_offered, sent.query, sent.items, "unconfirmed", maybe=True)
        line.gone = True
        line.note_rest()
        if self._taken_back_by is line:
            self._take_back_by(next((one for one in reversed(self._lines.values()) if one.takes_back), None))
        if self._downloads is not None and self._downloads[0] is line:
            self._download_by(next(reversed(self._lines.values()), None))

    def orders_changed(self) -> None:
        """Orders of the worklist have changed, or the codes of this analyzer have."""
        if self._downloads is not None:
            self._downloads[1].changed()

    def outlet(self) -> Outlet | None:
        """The newest line to the analyzer; None: it is not connected."""
        line = next(reversed(self._lines.values()), None)
        return None if line is None else _LineOutlet(self, line)

    # -- messages that no question asked for ---------------------------------------------------------------------------

    def _download_by(self, line: lines.Line | None) -> None:
        """Download by this line, the newest one, and by no other: an older one may be dead already."""
        if self._downloads is not None:
            self._downloads[1].close()
            self._downloads = None
        asking = self._asking()
        if line is None or (asking.download is None and not asking.cancels):
            return
        downloads = Downloads(
            self._channel, self._asking, _LineOutlet(self, line), journal=self._journal, clock=self._clock
        )
        self._downloads = line, downloads
        self._in_a_task(downloads.run())

    def _in_a_task(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def send_unasked(self, line: lines.Line, reply: Reply, *, cancels: bool = False) -> SendEnd:
        """Send a message that no question asked for, and wait for its end
        (`engine.features.orders.exchange.download.Outlet`)."""
        if not line.is_free:
            return NotSent(0, PUT_OFF)
        ended: asyncio.Future[SendEnd] = asyncio.get_running_loop().create_future()
        line.sending = lines.Sending(line.offer(reply, self._clock.monotonic()), reply, ended=ended)
        end = await ended
        if isinstance(end, Sent) and reply.control_id:
            line.awaited.add(reply, 0, cancels=cancels)
            self._wait_for(line, reply)
        return end

    @staticmethod
    def _put_off(line: lines.Line) -> None:
        """The analyzer has sent something: a message that has not begun is looked up anew."""
        sending = line.sending
        if sending is not None and sending.ended is not None and line.link.withdraw(sending.ticket):
            line.sending = None
            sending.ended.set_result(NotSent(sending.ticket, PUT_OFF))

    def _take_back_by(self, line: lines.Line | None) -> None:
        """Take cancelled orders back by this line, and by no other; None: there is none."""
        self._taking_back.end()
        self._taken_back_by = line
        if line is not None:
            self._taking_back.begin()

    def _take_back(self, replies: Sequence[Reply]) -> None:
        if self._taken_back_by is not None:
            self._in_a_task(self._send_back(self._taken_back_by, replies))

    async def _send_back(self, line: lines.Line, replies: Sequence[Reply]) -> None:
        """Send messages that take orders back, each once the line rests."""
        outlet = _LineOutlet(self, line)
        for reply in replies:
            end: SendEnd = NotSent(0, PUT_OFF)
            while isinstance(end, NotSent) and end.reason == PUT_OFF and await outlet.free():
                end = await self.send_unasked(line, reply, cancels=True)
            if isinstance(end, Sent):
                self._notes.note(worklist.taken_back, 0, reply.items, self._channel, self._clock.now_us())
                logger.info("orders taken back", extra=about(self._channel, reply.items))
            elif line is self._taken_back_by:
                self._taking_back.not_sent(reply.items)

    # -- one answer ----------------------------------------------------------------------------------------------------

    def _look_up(self, line: lines.Line, answering: lines.Answering, asking: Asking) -> None:
        try:
            settings = asking.look_up(self._clock.now_us(), answering.question)
            future = self._journal.run(worklist.answer, answering.message, answering.question, settings)
        except Exception as error:
            self._not_looked_up(line, answering, error)
            return
        future.add_done_callback(partial(self._looked_up, line, answering, asking))

    def _looked_up(
        self, line: lines.Line, answering: lines.Answering, asking: Asking, done: "asyncio.Future[Answered]"
    ) -> None:
        if done.cancelled() or (error := done.exception()) is not None:
            self._not_looked_up(line, answering, None if done.cancelled() else error)
            return
        found = done.result()
        answering.query = found.query
        offers = answering.question.kind != "demographics"
        answering.items = {item.number: None for tube in found.tubes for item in tube.items if offers}
        answering.empty = not answering.items
        if answering.over:
            self._not_offered(answering, answering.over)
            return
        if self._write(line, answering, asking, found.tubes):
            self._send_next(line)
        elif line.answering is answering:
            self._drop(line, "silent")

    def _write(self, line: lines.Line, answering: lines.Answering, asking: Asking, tubes: Sequence[Tube]) -> bool:
        """Have the dialogue write the answer; False: it says nothing, or failed."""
        answering.looks += 1
        number = f"Q{answering.message}" if answering.looks == 1 else f"Q{answering.message}-{answering.looks}"
        try:
            context = asking.context(self._clock.now_us(), number)
            replies = asking.dialogue.answer(answering.parsed, answering.question, tubes, context)
        except Exception:
            logger.exception("an answer cannot be written", extra=self._about(answering.message))
            self._drop(line, "fault")
            return False
        # On our own connection go the messages that begin an exchange: the analyzer confirms each.
        answering.own = deque(reply for reply in replies if reply.control_id and asking.own_line)
        answering.replies = deque(reply for reply in replies if not (reply.control_id and asking.own_line))
        return bool(replies)

    def _not_looked_up(self, line: lines.Line, answering: lines.Answering, error: BaseException | None) -> None:
        """Say nothing: better no answer than a wrong "none"."""
        logger.error(
            "a question was not looked up, and is not answered", exc_info=error, extra=self._about(answering.message)
        )
        if line.answering is answering:
            self._end(line, answering)
            self._let_ask_again(line, answering, fault=True)

    def _let_ask_again(self, line: lines.Line, answering: lines.Answering, *, fault: bool) -> None:
        """Without its answer an analyzer on MLLP waits, unless it got a commit accept or the connection ends.

        Args:
            fault: the answer has failed here, so each analyzer that sees the end of its connection is to ask again.
        """
        asking = self._asking()
        closes = asking.closes and not answering.committed
        if fault and (closes or asking.ends) and self._fault_stays():
            if closes:
                asyncio.get_running_loop().call_later(LATER_S, self._end_idle, line)
        elif closes or (fault and asking.ends):
            line.connection.stream.end()

    def _fault_stays(self) -> bool:
        """Note a fault of ours; whether so many came lately that the line does not end at once."""
        now = self._clock.monotonic()
        stays = len(self._faults) == FAULTS and now - self._faults[0] < FAULTS_WITHIN_S
        self._faults.append(now)
        return stays

    @staticmethod
    def _end_idle(line: lines.Line) -> None:
        if not line.gone and line.answering is None:
            line.connection.stream.end()

    def _send_next(self, line: lines.Line) -> None:
        """Give the link the next message of the answer, unless one is under way."""
        answering = line.answering
        if answering is None or line.sending is not None or answering.confirms or not answering.replies:
            return
        if self._clock.monotonic() >= answering.due:
            self._drop(line, "late")
            return
        reply = answering.replies.popleft()
        try:
            ticket = line.offer(reply, self._clock.monotonic())
        except Exception:
            logger.exception("an answer cannot be framed", extra=self._about(answering.message, reply.items))
            self._drop(line, "fault")
            return
        line.sending = lines.Sending(ticket, reply, answering)

    def _note_ends(self, line: lines.Line) -> None:
        """Note the message whose sending has ended, and go on with the answer that is wanted."""
        for end in line.link.sends_ended():
            lines.keep_line(line.connection, end)
            sending = line.sending
            if sending is None or sending.ticket != end.ticket:
                continue
            line.sending = None
            answering, reply = sending.answering, sending.reply
            if answering is None:
                if sending.ended is not None:
                    sending.ended.set_result(end)
            elif isinstance(end, Sent):
                answering.arrived += 1
                if reply.control_id:
                    self._await(line, answering, reply)
                for item in reply.items:
                    answering.items.pop(item, None)
                now_us = self._clock.now_us()
                if reply.items:
                    self._notes.note(worklist.offered, answering.query, reply.items, self._channel, now_us)
                logger.info("answered", extra=self._about(answering.message, reply.items))
                if not answering.replies:
                    self._end(line, answering)
                    self._send_on_own_line(answering)
                    self._not_offered(answering, answering.over or ("sent" if answering.empty else "left_out"))
            else:
                for item in reply.items:
                    answering.items.pop(item, None)
                self._notes.note(worklist.not_offered, answering.query, reply.items, end.reason, maybe=end.maybe)
                self._not_offered(answering, end.reason)
                logger.warning(
                    "an answer did not go out",
                    extra={**self._about(answering.message, reply.items), "reason": end.reason},
                )
                self._end(line, answering)
            self._send_next(line)

    def _send_on_own_line(self, answering: lines.Answering) -> None:
        if answering.own:
            exchange = lines.Exchange(answering.own, answering.query)
            for item in exchange.items:
                answering.items.pop(item, None)
            self._own.put(exchange, self._asking().deadline_s)

    def _end(self, line: lines.Line, answering: lines.Answering) -> None:
        if answering.timer is not None:
            answering.timer.cancel()
        if line.answering is answering:
            line.answering = None
            line.note_rest()

    def _drop_if(self, line: lines.Line, answering: lines.Answering, reason: str) -> None:
        if line.answering is answering:
            self._drop(line, reason)

    def _drop(self, line: lines.Line, reason: str) -> None:
        """Throw the answer away. A message of it that has begun goes out to its end; the rest does not."""
        answering = line.answering
        if answering is None:
            return
        sending = line.sending if line.sending is not None and line.sending.answering is answering else None
        if sending is not None and line.link.withdraw(sending.ticket):
            line.sending = sending = None
        elif sending is not None and reason == "late":
            return  # it has begun in time
        line.answering = None
        line.note_rest()
        self._give_up(answering, reason, under_way=sending is not None)
        if reason in NOT_READY:
            self._let_ask_again(line, answering, fault=reason == "fault")

    def _give_up(self, answering: lines.Answering, reason: str, *, under_way: bool = False) -> None:
        """``under_way``: a message of it is; its end will be noted."""
        if answering.timer is not None:
            answering.timer.cancel()
        if answering.replies or answering.own or not under_way:
            answering.over = reason
        answering.replies.clear()
        answering.own.clear()
        if answering.query and not under_way:
            self._not_offered(answering, reason)
        logger.warning("a question is not answered", extra={**self._about(answering.message), "reason": reason})

    def _look_up_anew(self, line: lines.Line) -> None:
        """The analyzer has sent something else before our answer began: what was found may be of yesterday.

        A tube whose message has arrived (over ASTM each has one) is not answered a second time.
        """
        answering, sending = line.answering, line.sending
        if self._asking().closes or answering is None or sending is None or sending.answering is not answering:
            return
        if line.link.withdraw(sending.ticket):
            line.sending = None
            answering.replies.clear()
            self._not_offered(answering, "contention")
            if answering.question.kind == "specimens" and answering.arrived:
                left = answering.question.asked[answering.arrived :]
                answering.question = changed(answering.question, asked=left)
            answering.arrived = 0
            self._look_up(line, answering, self._asking())

    # -- what the analyzer says of its orders --------------------------------------------------------------------------

    def _await(self, line: lines.Line, answering: lines.Answering, reply: Reply) -> None:
        """The analyzer confirms this message by another one; what is left of the answer goes after that."""
        line.awaited.add(reply, answering.query)
        self._wait_for(line, reply)
        if answering.replies and line.answering is answering:
            answering.confirms, answering.due = reply.control_id, float("inf")
            if answering.timer is not None:
                answering.timer.cancel()
            answering.timer = asyncio.get_running_loop().call_later(
                self._asking().deadline_s, self._drop_if, line, answering, "unconfirmed"
            )

    def _wait_for(self, line: lines.Line, reply: Reply) -> None:
        """Nothing that no question asked for goes out before the analyzer has confirmed this message."""
        line.unconfirmed = reply.control_id
        line.note_rest()
        asyncio.get_running_loop().call_later(self._asking().deadline_s, self._waits_no_more, line, reply.control_id)

    @staticmethod
    def _waits_no_more(line: lines.Line, control_id: str) -> None:
        if line.unconfirmed == control_id:
            line.unconfirmed = ""
            line.note_rest()

    def _confirmed(self, line: lines.Line, message: int, said: Confirmation, sent: lines.Unconfirmed) -> None:
        self._notes.note(worklist.confirmed, self._channel, message, said, sent.items, cancels=sent.cancels)
        self._waits_no_more(line, said.of)
        if sent.cancels and self._taken_back_by is line:
            self._taking_back.answered(sent.items)
        if line.answering is not None and line.answering.confirms and line.answering.confirms == said.of:
            line.answering.confirms = ""
            self._send_next(line)

    # -- noting --------------------------------------------------------------------------------------------------------

    def _not_offered(self, answering: lines.Answering, reason: str) -> None:
        """Note that the items of an answer that are left were not sent; of one without an item, what became of it."""
        items, answering.items = tuple(answering.items), {}
        empty, answering.empty = answering.empty, False
        if items:
            self._notes.note(worklist.not_offered, answering.query, items, reason, maybe=False)
        elif empty:
            self._notes.note(worklist.told, answering.query, reason)

    def _about(self, message: int, items: Sequence[int] = ()) -> dict[str, Any]:
        return {**about(self._channel, items), "journal_id": message}


class _LineOutlet:
    """One line, for downloads (`engine.features.orders.exchange.download.Outlet`)."""

    def __init__(self, desk: Desk, line: lines.Line) -> None:
        self._desk = desk
        self._line = line

    async def free(self) -> bool:
        line = self._line
        line.note_rest()
        while not line.rests.is_set():
            await line.rests.wait()
            line.note_rest()
        return not line.gone

    async def send(self, reply: Reply) -> SendEnd:
        return await self._desk.send_unasked(self._line, reply)
