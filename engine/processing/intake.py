"""Intake: from a stored message to the outbox, in one transaction; `engine.processing.process` decides the outcome.
Runs after the durable ACK, so no error here ever blocks an analyzer.

Messages are taken in journal order, which keeps every channel's order (P3). New ones come straight from the channel
with their payload. After a start, or when more wait than memory may hold, they are read back from the store by number.
The same path serves both, so a crash between journal and intake needs no code of its own.

Where messages are late, or one is processed aside, channels take turns (`engine.processing.turns`), until none waits.

Orders go beside this queue, since a laboratory system waits for their answer: a message of a channel that brings orders
is processed as it becomes durable, unless an older one of its channel waits. What fails there takes its turn here.
"""

import asyncio
import logging
from collections import deque
from collections.abc import AsyncIterator, Callable, Generator, Iterable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Protocol

from engine.delivery.worker import DestinationWorker
from engine.model.errors import StoreError
from engine.model.journal.records import Recorded
from engine.model.message import Stored
from engine.model.process.clock import Clock
from engine.model.routes import ChannelRoutes, Processed
from engine.processing import committing
from engine.processing.committing import Commits
from engine.processing.names import names_of
from engine.processing.process import YIELD_AFTER, process
from engine.processing.turns import MESSAGE_COSTS, UNKNOWN, Named, Turns, Waiting
from engine.receiving.outcomes import Outcomes
from engine.store.journal.starting import unprocessed
from engine.store.operations import poison_message

if TYPE_CHECKING:
    from engine.store.journal import Journal

logger = logging.getLogger("labrelay.processing")

MEMORY_MESSAGES = 2048  # stored messages that wait in memory, beside those that take turns ...
MEMORY_BYTES = 8 * 1024 * 1024  # ... and their payloads together; the rest are read back from the store
READ_AT_ONCE = 64
NAMES_BYTES = 128 * 1024  # of messages whose names are read in one turn of the loop: some milliseconds
TURNS_AT_ONCE = 4  # are added before one is taken: the more of one channel wait, the sooner others are among them
LATE_US = 1_000_000  # an older message that waits makes the channels take turns
ASIDE_BYTES = 2 * 1024 * 1024  # of large messages that are processed aside, before no further message is taken
STORE_RETRY_S = 1.0


class LargeMessageProcessor(Protocol):
    """Processes large messages elsewhere, so that no other waits for them (`engine.runtime.large`)."""

    def takes(self, stored: Stored) -> bool: ...
    def ask(self, stored: Stored, channel: ChannelRoutes, answer: Callable[[Processed], None]) -> None: ...
    def forget(self) -> None: ...


class Intake:
    """Process stored messages of all channels in one order."""

    def __init__(
        self,
        journal: "Journal",
        *,
        clock: Clock,
        outcomes: Outcomes | None = None,
        asked: Callable[[Stored], None] = lambda stored: None,
        mapped: Callable[[Stored, Processed, Recorded], None] | None = None,
        warily: bool = False,
        aside: LargeMessageProcessor | None = None,
        names: Callable[[Stored, ChannelRoutes], Generator[None, None, Named]] = names_of,
    ) -> None:
        """
        Args:
            outcomes: called with every outcome.
            asked: called with every message that is handed to the mapping.
            mapped: called with every outcome that became durable.
            aside: processes large messages; without it they are processed like all others.
            names: the names of a message, read in pieces.
            warily: the last process was killed, perhaps by a message (`engine.store.operations.poison_message`).
        """
        self._journal = journal
        self._warily = warily
        self._is_careful = False
        self._asked_for = asked
        self._clock = clock
        self._aside = aside
        self._aside_bytes = 0  # of the large messages that are processed aside
        self._names = names
        self._reading: tuple[int, Generator[None, None, Named]] | None = None  # a message, and the way to its names
        self._read_bytes = 0  # of messages whose names were read in this turn of the loop
        self._turns = Turns()  # taken out of the queue
        self._queue: deque[Stored] = deque()
        self._commits = Commits(
            journal, outcomes=outcomes, mapped=mapped, ended=self._outcome_ended, again=self._start_over
        )
        # Of channels that bring orders: the last message that waits for its turn; the store may have others while this
        # is not in order.
        self._in_turn: dict[str, int] = {}
        self._is_in_order = False
        self._left: dict[str, int] = {}  # channel that is not configured -> the first of its messages that waits
        self._held = 0
        self._resting = False  # the store failed to write an outcome; it is retried a little later
        self._bytes = 0  # of the payloads in memory, without those that are processed aside
        self._caught_up = False  # False: the store has messages that are not in memory ...
        self._behind: dict[str, tuple[int, int]] = {}  # ... channel -> when the first came, and the id of the last
        self._last_id = 0  # the last message taken out of the queue
        self._newest = 0  # the last message put into it
        self._wake = asyncio.Event()
        self._channels: Mapping[str, ChannelRoutes] = {}
        self.counts = self._commits.counts

    def configure(self, channels: Mapping[str, ChannelRoutes], workers: Mapping[str, DestinationWorker]) -> None:
        """Take over channels and destinations, at start and at a reload; between two messages, never within one.

        Large messages without an answer are processed anew, so that every message has one configuration. Messages that
        waited for their channel to be configured again are read back.
        """
        self._recall()
        self._channels = channels
        self._commits.workers = workers
        self._note_turns(self._queue)
        back = [self._left.pop(channel) for channel in list(self._left) if channel in channels]
        if back:
            self._go_back(min(back))
        self._wake.set()

    @asynccontextmanager
    async def between_messages(self) -> AsyncIterator[None]:
        """Within this context no message is being processed: all decisions are durable, and nothing new begins."""
        self._held += 1
        try:
            self._recall()
            await self._commits.all_durable.wait()
            yield
        finally:
            self._held -= 1
            self._wake.set()

    def _recall(self) -> None:
        """Have large messages without an answer processed anew, in their order."""
        self._reading = None
        if oldest := self._turns.oldest():
            self._go_back(oldest.stored.id)

    @property
    def waiting(self) -> int:
        """Stored messages in memory that are not processed."""
        return len(self._queue) + len(self._turns)

    def oldest_us(self) -> dict[str, int]:
        """Channel -> when the oldest of its messages was received that are not processed, of an earlier process once it
        was read.
        """
        found = {channel: first_us for channel, (first_us, _) in self._behind.items()}
        for stored in (*self._queue, *(waiting.stored for waiting in self._turns)):
            found[stored.channel] = min(stored.received_us, found.get(stored.channel, stored.received_us))
        return found

    def accept(self, stored: Stored) -> None:
        """A message became durable. Called in journal order, on the event loop."""
        if stored.repeat_of is not None:  # it has its state already
            self.counts.ended[stored.channel, "repeat"] += 1
            return
        if stored.filtered is not None:  # and so has a message kept for the record only
            self.counts.ended[stored.channel, "filtered"] += 1
            return
        if stored.id <= self._newest:
            return  # already read back from the store
        if (channel := self._channels.get(stored.channel)) is not None and channel.takes is not None:
            if self._may_go_beside(stored):
                if self._caught_up:
                    self._newest = stored.id
                self._asked_for(stored)
                self._outcome(stored, process(stored, channel))
                return
            self._note_turns((stored,))
        if not self._caught_up or len(self._queue) >= MEMORY_MESSAGES or self._bytes >= MEMORY_BYTES:
            self._caught_up = False
            self._put_behind(stored)
        else:
            self._queue.append(stored)
            self._newest = stored.id
            self._bytes += len(stored.payload)
        self._wake.set()

    def _put_behind(self, stored: Stored) -> None:
        """It is not in memory."""
        first_us, last = self._behind.get(stored.channel, (stored.received_us, stored.id))
        self._behind[stored.channel] = (min(first_us, stored.received_us), max(last, stored.id))

    def _note_turns(self, waiting: Iterable[Stored]) -> None:
        """These wait for their turn, and later orders of their channels behind them."""
        for stored in waiting:
            if (channel := self._channels.get(stored.channel)) is not None and channel.takes is not None:
                self._in_turn[stored.channel] = stored.id

    def _may_go_beside(self, stored: Stored) -> bool:
        """Whether a message with orders may be processed now: no message of its channel is older and without outcome,
        and nothing that concerns all of them is under way.
        """
        return (
            self._is_in_order
            and not self._held
            and not self._resting
            and not self._is_careful
            and stored.channel not in self._in_turn
            and (self._aside is None or not self._aside.takes(stored))
        )

    async def run(self, heartbeat: Callable[[], None] = lambda: None) -> None:
        """Process until cancelled. A message whose outcome cannot be stored is retried, in order."""
        if self._warily:
            self._warily = False
            try:
                self._is_careful = True  # a message processed elsewhere would not be the suspect
                await self._run_warily(heartbeat)
            finally:
                self._is_careful = False
        done = 0
        while True:
            heartbeat()
            if not self._queue and not self._caught_up and self._may_read_back() and self._read_back():
                continue
            if self._held or self._commits.is_busy or not self._step():
                self._wake.clear()
                try:
                    async with asyncio.timeout(5.0):
                        await self._wake.wait()
                except TimeoutError:
                    pass
                continue
            done += 1
            if done >= YIELD_AFTER or self._has_read_enough():
                done = self._read_bytes = 0
                await asyncio.sleep(0)

    async def _run_warily(self, heartbeat: Callable[[], None]) -> None:
        """Process the messages that the last process may have had under way one by one; note the first of them.

        Each is durable before the next is taken. So if one ends this process, too, it is the first that the next start
        finds, and is the one noted there. Where channels took turns it may be behind more than these: each start gets
        further.
        """
        noted, asked = False, 0
        while asked < committing.COMMITTING + 2:
            if self._held or self._resting or not (self._queue or self._read_back()):
                return
            first = self._queue[0]
            if first.channel not in self._channels:
                self._take(self._queue.popleft())
                await asyncio.sleep(0)
                continue
            if not noted:
                noted = True
                with suppress(StoreError):
                    await self._journal.run(poison_message.note, first.id)
                continue  # much may have changed meanwhile
            asked += 1
            if self._is_large(first):
                self._begin(self._put_in_turns(UNKNOWN))
            else:
                self._take(self._queue.popleft())
            while self._commits.under_way or self._turns:
                heartbeat()
                self._wake.clear()
                with suppress(TimeoutError):
                    async with asyncio.timeout(5.0):
                        await (self._commits.all_durable.wait() if self._commits.under_way else self._wake.wait())

    def _may_read_back(self) -> bool:
        return not self._resting and not self._held and not self._turns.is_full

    def _has_read_enough(self) -> bool:
        """Whether others of the loop get their turn before more names are read."""
        return self._reading is not None or self._read_bytes >= NAMES_BYTES

    def _step(self) -> bool:
        """Take a message, or a step towards it; False: there is none to be taken now."""
        if self._queue and not self._turns and not self._is_late(first := self._queue[0]) and not self._is_large(first):
            self._reading = None
            self._take(self._queue.popleft())
            return True
        added = False
        for _ in range(TURNS_AT_ONCE):
            if not self._queue or self._turns.is_full:
                break
            added = True
            self._add_to_turns(self._queue[0])
            if self._has_read_enough():
                break
        waiting = self._turns.next(large=self._aside_bytes < ASIDE_BYTES)
        if waiting is None:
            return added
        self._begin(waiting)
        return True

    def _begin(self, waiting: Waiting) -> None:
        """Have a message processed whose turn it is."""
        stored = self._with_payload(waiting)
        self._turns.begin(waiting)
        if stored is None:
            self._turns.done(waiting)
            if self._in_turn.get(waiting.stored.channel) == waiting.stored.id:
                del self._in_turn[waiting.stored.channel]
        elif waiting.large and self._aside is not None:
            self._bytes -= waiting.size  # other messages get its room in memory meanwhile
            self._aside_bytes += waiting.size
            self._ask_aside(self._aside, stored, waiting)
        else:
            self._take(stored, waiting)

    def _is_late(self, stored: Stored) -> bool:
        """Also where it seems to come from later: the clock was set back meanwhile."""
        return not 0 <= self._clock.now_us() - stored.received_us <= LATE_US

    def _is_large(self, stored: Stored) -> bool:
        return self._aside is not None and self._aside.takes(stored)

    def _add_to_turns(self, stored: Stored) -> None:
        """Have the first message of the queue take turns, once its names are read: this reads a piece."""
        channel = self._channels.get(stored.channel)
        if channel is None:
            self._take(self._queue.popleft())
            return
        if self._reading is None or self._reading[0] != stored.id:
            self._reading = (stored.id, self._names(stored, channel))
        try:
            next(self._reading[1])
            return
        except StopIteration as read:
            named: Named = read.value
        except Exception:  # P7: an error of ours; it waits for all earlier ones, and all later ones for it
            logger.exception("reading names failed inside LabRelay", extra={"journal_id": stored.id})
            named = UNKNOWN
        self._reading = None
        self._read_bytes += len(stored.payload) + 16 * MESSAGE_COSTS
        self._put_in_turns(named)

    def _put_in_turns(self, named: Named) -> Waiting:
        """Take the first message of the queue into the turns."""
        stored = self._queue[0]
        size, large = len(stored.payload), self._is_large(stored)
        if self._bytes > MEMORY_BYTES // 2:
            self._bytes -= size
            stored = replace(stored, payload=b"")
        waiting = Waiting(stored=stored, size=size, named=named, large=large)
        self._turns.add(waiting)
        self._last_id = max(self._last_id, self._queue.popleft().id)
        return waiting

    def _with_payload(self, waiting: Waiting) -> Stored | None:
        """The message whose turn it is; None: it has its outcome already."""
        stored = waiting.stored
        if stored.payload or not waiting.size:
            return stored
        found = unprocessed(self._journal, stored.id - 1, 1)
        if not found or found[0].id != stored.id:
            return None
        self._bytes += waiting.size
        return found[0]

    def _take(self, stored: Stored, waiting: Waiting | None = None) -> None:
        """Have one message processed, in its turn where it takes turns."""
        self._last_id = max(self._last_id, stored.id)
        channel = self._channels.get(stored.channel)
        if channel is None:
            # Its channel was removed from the configuration: it stays stored, and is processed when the channel is
            # back.
            self._left.setdefault(stored.channel, stored.id)
            self._bytes -= len(stored.payload)
            return
        self._asked_for(stored)
        outcome = process(stored, channel)
        if waiting is not None:
            self._turns.done(waiting)
        self._bytes -= len(stored.payload)
        self._outcome(stored, outcome)

    def _ask_aside(self, aside: LargeMessageProcessor, stored: Stored, waiting: Waiting) -> None:
        """Have a large message processed aside: its channel continues when that has its outcome."""
        waiting.stored = bare = replace(stored, payload=b"")  # the payload is large, and not needed here any more

        def processed(outcome: Processed) -> None:
            self._aside_bytes -= waiting.size
            self._turns.done(waiting)
            self._outcome(bare, outcome)

        self._asked_for(bare)
        aside.ask(stored, self._channels[stored.channel], processed)

    def _outcome(self, stored: Stored, outcome: Processed) -> None:
        """Store the outcome of a message. If that fails it is processed again, in order."""
        self._wake.set()
        try:
            self._commits.commit(stored, outcome)
        except StoreError as error:
            if not error.fatal:  # else the process is about to stop
                logger.error("cannot store an outcome, will try again", extra={"journal_id": stored.id})
                self._start_over(stored.id)
        except BaseException:
            self._start_over(stored.id)
            raise

    def _outcome_ended(self, stored: Stored, busy: bool) -> None:
        """An outcome is durable, or could not be stored. ``busy``: there were too many until then."""
        if busy:
            self._wake.set()
        if self._in_turn.get(stored.channel) == stored.id:
            del self._in_turn[stored.channel]

    def _read_back(self) -> bool:
        """Refill the queue from the store; False when nothing is left there."""
        batch = unprocessed(self._journal, self._last_id, READ_AT_ONCE)
        if not batch:  # an empty batch, not just a short one: large and damaged messages make short batches
            self._caught_up = True
            self._is_in_order = True
            self._behind.clear()
            return False
        self._queue.extend(batch)
        self._note_turns(batch)
        for stored in batch:
            first_us, last = self._behind.pop(stored.channel, (0, 0))
            if last > stored.id:
                self._behind[stored.channel] = (max(first_us, stored.received_us), last)
        self._newest = batch[-1].id
        self._bytes += sum(len(stored.payload) for stored in batch)
        return True

    def _start_over(self, stored_id: int) -> None:
        """Read from the store again, from this message on, a little later and once all others are through."""
        self._go_back(stored_id)
        if not self._resting:
            self._resting = True
            asyncio.get_running_loop().call_later(STORE_RETRY_S, self._go_on)

    def _go_back(self, stored_id: int) -> None:
        turns = (waiting.stored for waiting in self._turns)  # one aside, or waiting for that, may be older
        back = (*self._queue, *turns)
        for one in back:
            self._put_behind(one)
        oldest = min([stored_id, *(one.id for one in back)])
        if self._aside is not None:
            self._aside.forget()
        self._turns.clear()
        self._reading = None
        self._aside_bytes = 0
        self._queue.clear()
        self._in_turn.clear()
        self._bytes = 0
        self._caught_up = self._is_in_order = False
        self._last_id = self._newest = min(self._last_id, oldest - 1)

    def _go_on(self) -> None:
        if self._commits.under_way:  # one of these may fail, too, and must not be overtaken
            asyncio.get_running_loop().call_later(STORE_RETRY_S, self._go_on)
            return
        self._resting = False
        self._wake.set()
