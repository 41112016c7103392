"""Journal, intake and destinations in one process, without sockets: for tests of the way from a stored message to its
delivery. The journal is real; destinations do what a test scripts; time passes when the test says so.

A message is text: ``number|report|patient|shared``, the last three of which may be missing. The mapping makes one
document of it whose body is the text, with that report and conditional key.
"""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Generator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

from engine.delivery.breaker import Breaker
from engine.delivery.conditional_keys import ConditionalGuard, Conditions
from engine.delivery.events import DeliveryEvents, Setup
from engine.delivery.lane import Limits
from engine.delivery.retry import RetryPolicy
from engine.delivery.worker import DestinationWorker
from engine.model.errors import ContentError
from engine.model.journal.journal_views import DeliveryView
from engine.model.link_events import Line
from engine.model.message import (
    Delimiters,
    Delivery,
    Document,
    FormatOptions,
    Group,
    Header,
    MapContext,
    Mapped,
    Parsed,
    Received,
    Report,
    Segment,
    Stored,
)
from engine.model.process.clock import ManualClock
from engine.model.routes import ChannelRoutes, Route
from engine.model.site.downtime_windows import DowntimeCalendar
from engine.model.texts.reasons import ReasonCode
from engine.processing.intake import Intake, LargeMessageProcessor
from engine.processing.turns import Named
from engine.store.journal import Journal
from engine.store.operations import append
from engine.store.queries.lanes import list_channels, list_lanes
from engine.store.queries.messages import messages_page, trace_of
from tests.support.journals import started
from tests.support.waiting import until

WINDOW_S = 30 * 86_400.0


class LineFormat:
    """One line of fields. ``?`` cannot be read."""

    def header(self, payload: bytes) -> Header:
        return Header(problem="no header" if payload.startswith(b"?") else "")

    def split(self, payload: bytes) -> list[bytes]:
        return [payload]

    def parse(self, payload: bytes, options: FormatOptions) -> Parsed:
        line = Segment("LIN", ["LIN", *payload.decode().split("|")], 1, 1)
        return Parsed(format="line", structure="", message_type="LIN", delimiters=Delimiters(), root=Group(""),
                      segments=[line])  # fmt: skip


class LineProgram:
    """Maps as this module says. A number that begins with ``!`` makes it fall over, with ``~`` dead, ``-`` filtered."""

    name = "line"
    content_hash = "0" * 64

    def apply(self, parsed: Parsed, context: MapContext) -> Mapped:
        _, number, *rest = parsed.segments[0].fields
        report, patient, shared = [*rest, "", "", ""][:3]
        if number.startswith("!"):
            raise ZeroDivisionError(number)
        if number.startswith("~"):
            raise ContentError(ReasonCode.UNMAPPED_CODE, "told to", place="LIN-1")
        if number.startswith("-"):
            return Mapped(filtered=ReasonCode.QUALITY_CONTROL)
        document = Document(
            media_type="text/plain",  # no form in which results could be compared
            body="|".join(parsed.segments[0].fields[1:]).encode(),
            reports=(Report(_hash(report), _hash(patient) if patient else b""),) if report else (),
            conditional=(_hash(shared),) if shared else (),
        )
        return Mapped(documents=(document,))


def names_of(stored: Stored, channel: ChannelRoutes) -> Generator[None, None, Named]:
    """Its number, report and patient, in two pieces; one whose number begins with ``*`` may have others."""
    yield
    number, *rest = stored.payload.decode().split("|")
    names = [f"{stored.channel} {number}", *filter(None, rest[:2])]
    return Named(frozenset(map(hash, names)), complete=not number.startswith("*"))


def _hash(text: str) -> bytes:
    return sha256(text.encode()).digest()[:16]


@dataclass
class ScriptedDestination:
    """Takes documents, or does what ``script`` says about one.

    Attributes:
        script: called with (channel, body, how many attempts there were before); an exception to raise, or None.
        gate: while not set, deliveries wait inside.
        taken: (channel, body) in the order in which they were taken.
        attempts: (channel, body) -> how often they were tried.
        most: the largest number of deliveries inside at once.
    """

    script: Callable[[str, str, int], Exception | None] = lambda channel, body, attempt: None
    gate: asyncio.Event = field(default_factory=asyncio.Event)
    taken: list[tuple[str, str]] = field(default_factory=list)
    keys: dict[tuple[str, str], set[str]] = field(default_factory=dict)
    attempts: Counter[tuple[str, str]] = field(default_factory=Counter)
    inside: list[Delivery] = field(default_factory=list)
    most: int = 0
    opened: int = 0
    closed: int = 0
    seen: Callable[[Delivery], None] = lambda delivery: None

    def __post_init__(self) -> None:
        self.gate.set()

    async def start(self) -> None:
        self.opened += 1

    async def deliver(self, delivery: Delivery) -> None:
        self.inside.append(delivery)
        self.most = max(self.most, len(self.inside))
        self.seen(delivery)
        what = (delivery.channel, delivery.body.decode())
        try:
            await self.gate.wait()
            await asyncio.sleep(0)
            error = self.script(*what, self.attempts[what])
            self.attempts[what] += 1
            if error is not None:
                raise error
            self.taken.append(what)
            self.keys.setdefault(what, set()).add(delivery.key)
        finally:
            self.inside.remove(delivery)

    async def probe(self) -> None: ...

    async def close(self) -> None:
        self.closed += 1

    def of(self, channel: str) -> list[str]:
        """What was taken of one channel, in order, each at its first time."""
        return list(dict.fromkeys(body for name, body in self.taken if name == channel))


@dataclass
class Plant:
    journal: Journal
    clock: ManualClock
    intake: Intake
    workers: dict[str, DestinationWorker] = field(default_factory=dict)
    destinations: dict[str, ScriptedDestination] = field(default_factory=dict)
    channels: dict[str, ChannelRoutes] = field(default_factory=dict)
    _task: "asyncio.Task[None] | None" = None

    def channel(self, name: str, *to: str, order: str = "channel", hold: bool = False, raw: bool = False) -> None:
        """Configure a channel that maps everything for ``to``."""
        route = Route(when=None, program=None if raw else LineProgram(), to=to, order=order, hold_on_dead=hold)
        self.channels[name] = ChannelRoutes(
            channel=name,
            message_format=LineFormat(),
            media_type="text/plain",
            options=FormatOptions(),
            routes=(route,),
            context=MapContext(),
        )
        for destination in to:
            lane = self.workers[destination].lane(name)
            lane.order, lane.hold_on_dead = order, hold
        self.intake.configure(dict(self.channels), self.workers)

    async def destination(
        self,
        name: str,
        *,
        journal: Any = None,
        concurrency: int = 8,
        retry: RetryPolicy | None = None,
        breaker: Breaker | None = None,
        memory_deliveries: int = 256,
        memory_bytes: int = 1 << 25,
        start: bool = True,
        downtime: DowntimeCalendar | None = None,
        conditions: Conditions | None = None,
        events: DeliveryEvents | None = None,
        unproven: Callable[[Delivery], Awaitable[None] | None] = lambda delivery: None,
    ) -> ScriptedDestination:
        made = ScriptedDestination()
        self.destinations[name] = made
        setup = Setup(
            name=name,
            destination=made,
            journal=journal or self.journal,
            clock=self.clock,
            retry=retry or RetryPolicy(first=1.0, max=60.0),
            breaker=breaker or Breaker(threshold=5, first_open=5.0),
            guard=ConditionalGuard(100),
            limits=Limits(concurrency=concurrency, deliveries=memory_deliveries, bytes=memory_bytes),
            jitter=lambda: 0.5,
            downtime=downtime or DowntimeCalendar(),
            conditions=conditions,
            events=events or DeliveryEvents(),
            unproven=unproven,
        )
        self.workers[name] = DestinationWorker(setup)
        self.look_for_open(name)
        if start:
            await self.workers[name].start()
        return made

    def look_for_open(self, name: str) -> None:
        """What the composition root does for a new worker, and after a person's act."""
        for view in list_lanes(self.journal):
            if view.destination == name:
                self.workers[name].lane(view.channel).held = bool(view.held_by) or view.paused
                self.workers[name].reclaim(view.channel)

    def begin(self) -> None:
        self._task = asyncio.create_task(self.intake.run())

    async def end_intake(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait({self._task})
            self._task = None

    async def send(self, channel: str, *bodies: str) -> list[Stored]:
        """Store messages and hand them to intake, as a channel does."""
        found = []
        for body in bodies:
            line = Line("127.0.0.1", ended_us=self.clock.now_us())  # gone without an answer: it may send again
            message = Received(channel=channel, payload=body.encode(), received_us=self.clock.now_us(), line=line)
            future = self.journal.run(append.store_message, message, repeat_window_s=WINDOW_S)
            future.add_done_callback(lambda done: self.intake.accept(done.result()))
            found.append(future)
        return [await future for future in found]

    async def advance(self, seconds: float) -> None:
        """Let time pass, and everything that is due happen."""
        self.clock.advance(seconds)
        for worker in self.workers.values():
            worker.wake()
        await self.settle()

    async def settle(self) -> None:
        """Wait until nothing moves any more: all is delivered, delayed, held or waits for a closed gate."""
        quiet = 0
        while quiet < 4:
            before = self._trace()
            await asyncio.sleep(0.002)
            quiet = quiet + 1 if before == self._trace() and not self.journal.writer.waiting else 0

    def _trace(self) -> tuple[object, ...]:
        taken = [(len(d.taken), sum(d.attempts.values()), len(d.inside)) for d in self.destinations.values()]
        return (*taken, self.journal.last_id, self.intake.waiting, self.journal.writer.stats.batches)

    async def drain(self, within_s: float = 240.0, step_s: float = 60.0) -> None:
        """Let time pass until nothing is open."""

        async def go() -> None:
            while True:
                await self.settle()
                processed = not any(view.stored for view in list_channels(self.journal))
                if processed and not any(view.open for view in list_lanes(self.journal)):
                    return
                await self.advance(step_s)

        await asyncio.wait_for(go(), within_s)

    def views(self, destination: str) -> list[DeliveryView]:
        """All deliveries for a destination, by lane and number."""
        found = []
        for message in messages_page(self.journal, limit=100_000):
            trace = trace_of(self.journal, message.id)
            assert trace is not None
            found += [view for view in trace.deliveries if view.destination == destination]
        return sorted(found, key=lambda view: (view.channel, view.seq))

    def states(self, destination: str) -> list[str]:
        return [view.state for view in self.views(destination)]


@asynccontextmanager
async def plant(
    data: Path,
    *,
    clock: ManualClock | None = None,
    store: Callable[[Journal], Any] = lambda journal: journal,
    aside: LargeMessageProcessor | None = None,
) -> AsyncIterator[Plant]:
    """A plant without destinations and channels; ``store`` may put something between intake and the journal."""
    clock = clock or ManualClock()
    journal = await started(data, clock=clock)
    made = Plant(journal, clock, Intake(store(journal), clock=clock, aside=aside, names=names_of))
    made.begin()
    try:
        yield made
    finally:
        await made.end_intake()
        for worker in made.workers.values():
            await worker.stop(0.05)
        await journal.stop()


def numbers(count: int, *, start: int = 1, suffix: str = "") -> list[str]:
    return [f"{number:05d}{suffix}" for number in range(start, start + count)]


async def all_taken(destination: ScriptedDestination, count: int) -> None:
    await until(lambda: len(destination.taken) >= count)


def in_order(found: Sequence[str]) -> bool:
    return list(found) == sorted(found)
