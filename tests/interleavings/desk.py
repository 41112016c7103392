"""A site without threads and without time of its own: each commit is a step, and the clock goes when it is told to.

Real are the journal on its disk, the channels with their links and desks, and what is made of a message. A kill is to
commit or not, to tell no one, and to begin again from the disk.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from adapters.codecs.astm import records, two_way
from adapters.codecs.astm.dialogue import AstmDialogue
from adapters.codecs.astm.habits import GENERIC
from adapters.codecs.astm.sender import SenderOptions
from adapters.codecs.astm.session import AstmOptions
from engine.features.orders import rows as worklist
from engine.features.orders.exchange.asking import Asking
from engine.features.orders.exchange.desk import Desk
from engine.model.errors import StoreError
from engine.model.journal.records import HoldReason
from engine.model.message import FormatOptions, MapContext, Stored
from engine.model.ports import Format
from engine.model.process.clock import ManualClock
from engine.model.routes import ChannelRoutes, Route, routed_by
from engine.model.texts.reasons import ReasonCode
from engine.model.worklist import AskSettings
from engine.processing.process import process
from engine.receiving.channel import Channel
from engine.receiving.channel_parts import ChannelSettings, Connection
from engine.store.core.writing.operation import Priority, traits_of
from engine.store.core.writing.writer import Writer
from engine.store.journal import Journal
from engine.store.journal.starting import recover, unprocessed
from engine.store.operations import record_outcome
from tests.support.shipped import program, reader_of

DEADLINE_S = 8.0
HELD = b"|999|"  # a value that a rule holds
CODES = {"chem": {"GLU": "10", "UREA": "20", "NA": "30"}, "chem2": {"GLU": "g", "UREA": "u"}}
Execute = Callable[..., Any]


class StillLoop(asyncio.SelectorEventLoop):
    """An event loop whose timers go by a clock that stands still."""

    def __init__(self, clock: ManualClock) -> None:
        super().__init__()
        self._clock = clock

    def time(self) -> float:
        return self._clock.monotonic()

    async def quiet(self) -> None:
        """Until nothing is left to do at this moment."""
        await asyncio.sleep(0)
        while self._ready:  # type: ignore[attr-defined]  # noqa: ASYNC110 - there is no event for it
            await asyncio.sleep(0)


@dataclass(slots=True, eq=False)
class Step:
    """An operation that was handed to the journal; ``result`` once it is durable."""

    function: Callable[..., Any]
    given: tuple[Any, ...]
    named: dict[str, Any]
    result: Any = None


class SteppedWriter(Writer):
    """The journal's writer, on the thread of the test: it commits when it is told to."""

    def start(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop

    @property
    def queued(self) -> int:
        return self._queue.qsize()

    def commit(self, most: int, *, hand_over: bool = True) -> list[Step]:
        """One transaction of at most so many operations; those that were carried out.

        Args:
            hand_over: False: it is durable, and nothing here hears of it.
        """
        items = [item for _ in range(min(most, self.queued)) if (item := self._queue.get_nowait()) is not None]
        if items and not self._transact(items):
            for item in items:
                self._transact([item])
        if hand_over:
            self._resolve(items)
        self._upkeep.after_batch()
        return [item.operation.keywords["step"] for item in items if item.error is None]  # type: ignore[attr-defined]

    def die(self) -> None:
        self._failed = StoreError("killed", fatal=True)


class Cable:
    """One connection without a socket (`engine.model.ports.RousedStream`). ``said``: of the daemon, on its way."""

    gone = False

    def __init__(self, name: str) -> None:
        self.peer = name
        self.said = bytearray()
        self.closed = False
        self._came = bytearray()
        self._over = False
        self._reader: asyncio.Future[None] | None = None

    def feed(self, data: bytes) -> None:
        self._came += data
        self._wake()

    def end(self) -> None:
        self._over = True
        self._wake()

    def _wake(self) -> None:
        if self._reader is not None and not self._reader.done():
            self._reader.set_result(None)

    def rouse(self) -> None:
        if self._reader is not None and not self._reader.done():
            self._reader.set_exception(TimeoutError())

    async def read(self, timeout: float | None = None) -> bytes:  # noqa: ASYNC109 - as the contract says
        if not self._came and not self._over:
            if timeout is not None and timeout <= 0:
                raise TimeoutError
            loop = asyncio.get_running_loop()
            self._reader = loop.create_future()
            timer = loop.call_later(timeout, self.rouse) if timeout is not None else None
            try:
                await self._reader
            finally:
                self._reader = None
                if timer is not None:
                    timer.cancel()
        data = bytes(self._came)
        self._came.clear()
        return data

    async def write(self, data: bytes) -> None:
        if self.closed or self._over:
            raise ConnectionResetError("the peer is gone")
        self.said += data

    async def close(self) -> None:
        self.closed = True


class WatchedDesk(Desk):
    """The desk; it notes by which line each message came."""

    def __init__(self, lines: dict[int, str], *given: Any, **named: Any) -> None:
        super().__init__(*given, **named)
        self._by = lines

    def durable(self, connection: Connection, stored: Stored) -> None:
        self._by[stored.id] = connection.peer
        super().durable(connection, stored)


class Site:
    """One life of the daemon.

    Attributes:
        lines: number of a message -> the cable by which it came.
        waiting: messages that are durable and not processed.
    """

    def __init__(self, data: Path, loop: StillLoop, clock: ManualClock) -> None:
        self.loop, self.clock = loop, clock
        self.journal = journal = Journal.open(data, clock=clock)
        self.writer = SteppedWriter(journal.writer._connection, journal.upkeep, on_fatal=_unexpected)
        journal.writer = self.writer
        journal.run = self.run  # type: ignore[method-assign,assignment]
        recover(journal)
        journal.start(loop)
        self.lines: dict[int, str] = {}
        self.waiting: list[Stored] = unprocessed(journal)
        self.channels = {name: self._channel(name) for name in CODES}
        self._routes = {name: _routes(name) for name in CODES}
        self._tasks: set[asyncio.Task[None]] = set()
        self.run(worklist.recover)

    def _channel(self, name: str) -> Channel:
        asking = Asking(
            message_format=_FORMAT,
            options=FormatOptions(("utf-8",)),
            dialogue=AstmDialogue(GENERIC),
            settings=AskSettings(channel=name, codes=CODES[name]),
            timezone="Asia/Kolkata",
            demographics=False,
            deadline_s=DEADLINE_S,
            closes=False,
        )
        return Channel(
            ChannelSettings(
                name=name, repeat_window_s=86_400.0, idle_timeout_s=None, max_connections=3, answer_store_fault=False
            ),
            new_link=lambda: two_way.AstmTwoWayLink(AstmOptions(), SenderOptions()),
            message_format=_FORMAT,
            answer=None,
            journal=self.journal,
            stored=self.waiting.append,
            clock=self.clock,
            desk=WatchedDesk(self.lines, name, lambda: asking, journal=self.journal, clock=self.clock),
        )

    def run(self, function: Callable[..., Any], /, *given: Any, **named: Any) -> "asyncio.Future[Any]":
        """As `Journal.run`, and the step can be told apart later."""
        traits = traits_of(function)
        size = traits.size(*given, **named) if traits.size is not None else 0
        step = Step(function, given, named)
        future = self.writer.submit(partial(_carried_out, step=step), size=size, priority=Priority.SETTLE)
        future.add_done_callback(lambda done: done.cancelled() or done.exception())
        return future

    def connect(self, channel: str, cable: Cable) -> None:
        task = self.loop.create_task(self.channels[channel].handle(cable))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def process(self) -> None:
        """The next message, as the intake does it."""
        stored = self.waiting.pop(0)
        if stored.repeat_of is not None:
            return
        done = process(stored, self._routes[stored.channel])
        routed = [routed_by(route, document) for document, route in done.documents]
        if HELD in stored.payload:
            routed = [replace(one, hold=_Implausible()) for one in routed]
        self.run(record_outcome.record, stored.id, done, routed)

    async def kill(self) -> None:
        """As SIGKILL: what is not on the disk is gone, and no one is told."""
        self.writer.die()
        for channel in self.channels.values():
            channel.stop()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self.loop.quiet()
        self.journal.upkeep._anchor.close()
        self.journal.writer._connection.close()
        self.journal._closed = True
        self.journal.close()


def _carried_out(batch: Any, *, step: Step) -> Any:
    step.result = step.function(batch, *step.given, **step.named)
    return step.result


def _routes(name: str) -> ChannelRoutes:
    return ChannelRoutes(
        channel=name,
        message_format=_FORMAT,
        media_type="text/plain",
        options=FormatOptions(("utf-8",)),
        routes=(Route(when=None, program=None, to=("archive",)),),
        context=MapContext(channel=name, timezone="Asia/Kolkata"),
        dialogue=AstmDialogue(GENERIC),
        tests={code: test for test, code in CODES[name].items()},
        reader=lambda parsed: program(reader_of(parsed.format)),
    )


class _Implausible:
    """Hold rules (`engine.model.journal.records.Rules`)."""

    results = ()
    answers, tests = (), ()

    def decide(self, history: Any, received_us: int) -> HoldReason:
        return HoldReason(reason=ReasonCode.HELD_BY_RULE, text="implausible")


def _unexpected(error: StoreError) -> None:
    raise AssertionError(f"fatal: {error}")


_FORMAT: Format = records  # type: ignore[assignment]  # a module
