"""What runs of this feature while a site runs.

Send the spans of `engine.features.traces.service` to the site's collector, in batches, beside the path of
messages.

A batch that the collector does not take now is tried again, later and later; meanwhile the queue drops the oldest
spans. One that it refuses is dropped. The log has one line for each change of that, and the metrics count both.

Traces: the steps of each message as spans, in a bounded queue.

    receive        the bytes are whole -> the message is durable       of its channel
      journal      the commit, with its sync
      acknowledge  durable -> the answer was written
      map          handed to the mapping -> its outcome is durable
      deliver      one for each attempt                                channel, destination, outcome, reason

Ids follow from the journal's key, its id and the number of the message. So they reveal nothing, and a message that is
delivered after a restart, or days later, goes on in its trace. A step that began before a restart has no span; the
steps after it belong to the same first span.

Each step makes one call, which appends to the queue. The queue never waits: what it has no room for is dropped, the
oldest first, and counted.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Mapping, Sequence
from contextlib import suppress
from hashlib import blake2b
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

from engine.config.findings.tls_files import hash_of
from engine.config.load import Site
from engine.delivery.retry import LONGEST_RETRY_AFTER_S
from engine.features.traces.config import TracesConfig, traces_of
from engine.model.errors import ConfigError, DeliveryError, RefusedDeliveryError
from engine.model.journal.records import Recorded
from engine.model.message import Delivery, Stored
from engine.model.process.clock import Clock
from engine.model.spans import PREFIX, Kind, Span, traceparent
from engine.model.texts.reasons import ReasonCode
from engine.model.values import changed
from engine.runtime.service import Loop, Service
from engine.store.journal import Journal

if TYPE_CHECKING:
    from engine.runtime.app import App


QUEUED_SPANS = 4096  # that wait to be sent; 3 MiB at most
UNDER_WAY = 4096  # messages, and as many attempts, whose steps have begun; of more the oldest begin with their end
BATCH = 512  # spans in one request
_PERSON = b"labrelay traces"


class _Steps:
    """What is known of a message that is under way here."""

    __slots__ = ("asked_us", "durable_us", "root", "trace")

    def __init__(self, trace: bytes, root: bytes) -> None:
        self.trace = trace
        self.root = root
        self.durable_us = 0
        self.asked_us = 0


class Tracer:
    """The spans of one running site. Lives on the event loop.

    Args:
        identity_key: the journal's, of 32 bytes.
        sample: per cent of the messages that are traced.

    Attributes:
        dropped: spans without room.
        some: there are spans to send. many: at least `BATCH`.
    """

    def __init__(self, identity_key: bytes, journal_id: bytes, clock: Clock, sample: int) -> None:
        self._key = blake2b(journal_id, key=identity_key, person=_PERSON, digest_size=32).digest()
        self._clock = clock
        self._queue: deque[Span] = deque()
        self.follow(sample)
        self._attempts: dict[int, tuple[int, bytes]] = {}
        self.dropped = 0
        self.some, self.many = asyncio.Event(), asyncio.Event()

    def follow(self, sample: int) -> None:
        """Trace so many per cent of the messages from now on."""
        self._below = (sample << 64) // 100
        self._messages: dict[int, _Steps | None] = {}

    # -- calls from the path of a message ----------------------------------------------------------------------------

    def stored(self, stored: Stored) -> None:
        """A message became durable."""
        if (steps := self._of(stored.id)) is None:
            return
        now_us = steps.durable_us = self._clock.now_us()
        known = _about(stored.channel, stored.id)
        outcome = "repeat" if stored.repeat_of is not None else "filtered" if stored.filtered is not None else ""
        root = Span(
            "receive",
            Kind.SERVER,
            steps.trace,
            steps.root,
            b"",
            stored.received_us,
            max(now_us, stored.received_us),
            (*known, (f"{PREFIX}outcome", outcome)) if outcome else known,
        )
        self._put(root)
        self._put_child(steps, "journal", b"j", stored.received_us, now_us, known)

    def answered(self, channel: str, message_ids: Sequence[int]) -> None:
        """The answers to these messages were written; a repeat's counts for the message that it repeats."""
        for number in message_ids:
            if (steps := self._of(number)) is not None:
                now_us = self._clock.now_us()
                self._put_child(steps, "acknowledge", b"a", steps.durable_us or now_us, now_us, _about(channel, number))

    def asked(self, stored: Stored) -> None:
        """A message is handed to the mapping."""
        if (steps := self._of(stored.id)) is not None:
            steps.asked_us = self._clock.now_us()

    def mapped(self, stored: Stored, recorded: Recorded) -> None:
        """The outcome of a message is durable."""
        if (steps := self._of(stored.id)) is None:
            return
        now_us = self._clock.now_us()
        documents = len(recorded.deliveries) + recorded.waiting + len(recorded.held)
        about = (
            *_about(stored.channel, stored.id),
            (f"{PREFIX}outcome", recorded.state),
            (f"{PREFIX}documents", documents),
            *_because(recorded.reason),
        )
        failed = recorded.state == "dead"
        self._put_child(steps, "map", b"m", steps.asked_us or now_us, now_us, about, failed=failed)

    def begun(self, delivery: Delivery) -> Delivery:
        """An attempt begins; the delivery with the context that its requests carry."""
        if (steps := self._of(delivery.message_id)) is None:
            return delivery
        span = self._span(b"d", delivery.id, delivery.earlier + delivery.attempt)
        if len(self._attempts) >= UNDER_WAY:
            del self._attempts[next(iter(self._attempts))]
        self._attempts[delivery.id] = self._clock.now_us(), span
        return changed(delivery, traceparent=traceparent(steps.trace, span))

    def ended(self, delivery: Delivery, reason: ReasonCode | None) -> None:
        """A delivery was made (None), or is not tried again."""
        calm = (ReasonCode.SUPERSEDED, ReasonCode.OVERTAKEN)
        outcome = "delivered" if reason is None else reason.value.lower() if reason in calm else "dead"
        self._attempted(delivery, outcome, reason, delivery.attempt + 1)

    def postponed(self, delivery: Delivery, reason: ReasonCode) -> None:
        """An attempt has failed, and another will follow; ``delivery`` counts it."""
        self._attempted(delivery, "postponed", reason, delivery.attempt)

    def _attempted(self, delivery: Delivery, outcome: str, reason: ReasonCode | None, attempt: int) -> None:
        if (steps := self._of(delivery.message_id)) is None:
            return
        now_us = self._clock.now_us()
        span = self._span(b"d", delivery.id, delivery.earlier + attempt - 1)
        began_us, span = self._attempts.pop(delivery.id, (now_us, span))
        about = (
            *_about(delivery.channel, delivery.message_id),
            (f"{PREFIX}destination", delivery.destination),
            (f"{PREFIX}delivery", delivery.id),
            (f"{PREFIX}attempt", delivery.earlier + attempt),
            (f"{PREFIX}outcome", outcome),
            *_because(reason),
        )
        failed = outcome in ("dead", "postponed")
        self._put(
            Span("deliver", Kind.CLIENT, steps.trace, span, steps.root, began_us, max(now_us, began_us), about, failed)
        )

    # -- the sender's side -------------------------------------------------------------------------------------------

    @property
    def waiting(self) -> int:
        return len(self._queue)

    def take(self) -> list[Span]:
        """The oldest spans, at most `BATCH`."""
        batch = [self._queue.popleft() for _ in range(min(BATCH, len(self._queue)))]
        if not self._queue:
            self.some.clear()
        if len(self._queue) < BATCH:
            self.many.clear()
        return batch

    # -- inside ------------------------------------------------------------------------------------------------------

    def _of(self, message: int) -> _Steps | None:
        """A message's trace; None: it is not traced."""
        try:
            return self._messages[message]
        except KeyError:
            ids = blake2b(message.to_bytes(8, "big"), key=self._key, digest_size=24).digest()
            traced = int.from_bytes(ids[8:16], "big") < self._below
            found = self._messages[message] = _Steps(ids[:16], ids[16:]) if traced else None
            if len(self._messages) > UNDER_WAY:
                del self._messages[next(iter(self._messages))]
            return found

    def _span(self, step: bytes, *numbers: int) -> bytes:
        told = step + b"".join([number.to_bytes(8, "big") for number in numbers])
        return blake2b(told, key=self._key, digest_size=8).digest()

    def _put_child(
        self,
        steps: _Steps,
        name: str,
        step: bytes,
        start_us: int,
        end_us: int,
        about: tuple[tuple[str, str | int], ...],
        *,
        failed: bool = False,
    ) -> None:
        span = self._span(step + steps.root, end_us)
        self._put(
            Span(name, Kind.INTERNAL, steps.trace, span, steps.root, min(start_us, end_us), end_us, about, failed)
        )

    def _put(self, span: Span) -> None:
        if len(self._queue) >= QUEUED_SPANS:
            self._queue.popleft()
            self.dropped += 1
        self._queue.append(span)
        self.some.set()
        if len(self._queue) >= BATCH:
            self.many.set()


def _about(channel: str, message: int) -> tuple[tuple[str, str | int], ...]:
    return (f"{PREFIX}channel", channel), (f"{PREFIX}message", message)


def _because(reason: ReasonCode | None) -> tuple[tuple[str, str | int], ...]:
    return () if reason is None else ((f"{PREFIX}reason", reason.value),)


logger = logging.getLogger("labrelay.traces")

EVERY_S = 2.0  # spans wait so long for others that go with them
FIRST_S, LONGEST_S = 1.0, 60.0  # between two attempts, where the collector names no time
STOP_S = 2.0  # for the last spans, at a stop


class Tracing(Service):
    """The traces of one running site.

    Attributes:
        witness: takes the steps of messages; None: the site has no traces.
        sent: spans that the collector has taken.
    """

    def __init__(self, journal: Journal, clock: Clock) -> None:
        self._journal = journal
        self._clock = clock
        self._config: TracesConfig | None = None
        self._files = ""  # the content of its certificate files
        self._changed = asyncio.Event()
        self._batch: list[Span] = []  # the collector has not taken it yet
        self._empty = asyncio.Event()
        self._failing = False
        self._lost = 0
        self.witness: Tracer | None = None
        self.sent = 0

    @property
    def dropped(self) -> int:
        """Spans that reach no collector: there was no room, or it refused them."""
        return self._lost + (self.witness.dropped if self.witness is not None else 0)

    def follow(self, config: TracesConfig | None) -> None:
        """Take over the configuration, at start and at a reload; spans that wait go to the collector of now."""
        files = hash_of(config)
        if (config, files) == (self._config, self._files):
            return
        self._config, self._files = config, files
        if config is None:
            self._lost = self.dropped + len(self._batch) + (self.witness.waiting if self.witness is not None else 0)
            self._batch, self.witness, self._failing = [], None, False
        elif self.witness is not None:
            self.witness.follow(config.sample)
        else:
            key = self._journal.vault.identity_key
            self.witness = Tracer(key, self._journal.journal_id, self._clock, config.sample)
        self._changed.set()

    def configured(self, site: Site) -> None:
        self.follow(traces_of(site.config))

    def loops(self) -> dict[str, Loop]:
        return {"traces": self.run}

    async def run(self) -> None:
        """Send until cancelled."""
        while True:
            self._changed.clear()
            config, tracer = self._config, self.witness
            if config is None or tracer is None:
                await self._changed.wait()
                continue
            try:
                collector = config.build(self._clock, self._resource())
            except ConfigError as error:
                logger.error("traces cannot be sent", extra={"detail": str(error)})
                await self._changed.wait()
                continue
            await collector.start()
            sending = asyncio.create_task(self._keep_sending(collector, tracer), name="traces")
            changed = asyncio.create_task(self._changed.wait())
            try:
                await asyncio.wait({sending, changed}, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for task in (sending, changed):
                    task.cancel()
                ended = await asyncio.gather(sending, changed, return_exceptions=True)
                await collector.close()
            if isinstance(ended[0], Exception):
                self._lost += len(self._batch)  # it may be the cause, and holds up no other
                self._batch = []
                raise ended[0]

    async def stop(self) -> None:
        """Send what waits, unless the collector is away; for `STOP_S` at most."""
        tracer = self.witness
        if tracer is None or self._failing or not (tracer.waiting or self._batch):
            return
        self._empty.clear()
        tracer.many.set()
        with suppress(TimeoutError):
            async with asyncio.timeout(STOP_S):
                await self._empty.wait()

    async def _keep_sending(self, collector: Any, tracer: Tracer) -> None:
        wait_s = FIRST_S
        while True:
            if not self._batch:
                await tracer.some.wait()
                with suppress(TimeoutError):
                    async with asyncio.timeout(EVERY_S):
                        await tracer.many.wait()
                self._batch = tracer.take()
            try:
                refused = await collector.send(self._batch)
            except RefusedDeliveryError as error:
                self._failed(error)
                self._lost += len(self._batch)
            except DeliveryError as error:
                self._failed(error)
                asked_s = getattr(error, "retry_after", None) or 0.0
                await asyncio.sleep(max(wait_s, min(asked_s, LONGEST_RETRY_AFTER_S)))
                wait_s = min(2 * wait_s, LONGEST_S)
                continue
            else:
                self.sent += len(self._batch) - refused
                self._lost += refused
                wait_s = FIRST_S
                if self._failing:
                    self._failing = False
                    logger.info("traces reach their collector again")
            self._batch = []
            if not tracer.waiting:
                self._empty.set()

    def _failed(self, error: DeliveryError) -> None:
        if not self._failing:
            self._failing = True
            logger.warning("traces do not reach their collector", extra={"reason": error.reason, "detail": str(error)})

    def _resource(self) -> Mapping[str, str]:
        """The program, as OpenTelemetry's conventions name its parts; the instance is this journal."""
        try:
            of_program = version("labrelay")
        except PackageNotFoundError:
            of_program = "unknown"
        instance = self._journal.journal_id.hex()[:8]
        return {"service.name": "labrelay", "service.version": of_program, "service.instance.id": instance}


def tracing(app: "App") -> Tracing:
    """Of a running site."""
    return Tracing(app.journal, app.clock)
