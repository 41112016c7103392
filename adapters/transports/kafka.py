"""A topic of Kafka, whose records are messages: for a LabRelay that feeds a server with what gateways have written.

    assigned   the place in each partition is the journal's own; the group's only where another journal has read on
    handle     each record is a stream of one message; message and place become durable in one transaction
    note       the group gets the place, with the journal's name: for other readers of it, and Kafka's own tools

A kill takes no record twice. We are one member of the group over restarts (`group.instance.id`), so none has to wait
for the group to miss us; of a topic of another shape we are another one, for the group remembers who has which. A
record that its gateway has sent twice has its `Idempotency-Key` again, and is journalled as a repeat; other bytes under
that key are no repeat. Places are kept by the id of the topic: one that is made anew is read from its beginning. A
place that retention has deleted is reported, and so is a log that is shorter than what was taken. Nothing in a record
stops the reading: what cannot be read is a dead letter of its own. A partition without a leader stops no other.

Records of a partition are taken one after the other, partitions side by side. The library calls back from the thread
that waits for records, so partitions never change while a batch is being stored.

A document is sent only while its partition is ours, so that no older one goes out behind those of another feeder:

    another one comes     the group waits until what we have taken is delivered
    we were away          where another journal has read on, what we had not delivered is held for a person
    the group is silent   documents wait: each is sent within `PROVEN_S` of a note that the group took
"""

import asyncio
import contextlib
import importlib
import logging
import re
import time
from collections.abc import Iterable
from typing import Any, NamedTuple, Protocol

from adapters.clients.kafka import LARGEST_BYTES, Brokers, Causes, library, settings
from adapters.codecs.text.whole_link import ACK
from adapters.transports.errors import SearchError
from adapters.transports.polling import Polling
from engine.model.errors import DestinationDownError, HeldBackError, StoreError
from engine.model.ports import PolledVersion, PollMemory, StreamHandler
from engine.model.texts.reasons import ReasonCode

logger = logging.getLogger("labrelay.channel")

BATCH = 200
WAIT_S = 0.5
ANSWER_S = 10.0
LOOK_S = 15.0  # between two looks whether the topic is still the same
MISSED_MS = 45_000  # then the group gives our partitions to others; longer than any pause between two clients
PROVEN_S = 5.0  # from the begin of a note that the group took, which misses us later than that
LONGEST_MS = 86_400_000  # that the group waits for us; the library takes no more
DRAIN_S = 0.2
QUEUED_KB = 16_384


class Settings(Brokers, Protocol):
    """The settings of a channel's ``source:``."""

    group: str
    behind: float
    max_connections: int


class Place(NamedTuple):
    """Where to read on in a partition; how many records are lost there, and what a person should know of that.
    ``other``: another journal has read it since.
    """

    offset: int
    lost: int = 0
    told: str = ""
    other: bool = False


def place(*, own: int, noted: int, note: str, journal: str, topic: str, low: int, high: int) -> Place:
    """Where a partition is read on.

    Args:
        own: the place in the journal; 0: it has none.
        noted: the group's; below 0: it has none.
        note: the journal whose place that is, and the topic's id; empty: another program has set it.
        journal: our own, as ``journal/incarnation``. A note of an earlier incarnation is passed over: a restored
            journal lacks what was read after the copy. So is one of an earlier topic of this name.
        topic: the id of the topic.
        low, high: the oldest record that the partition has, and the number of the next.
    """
    by, _, of = note.partition(" ")
    another = bool(by) and of == topic and by.partition("/")[0] != journal.partition("/")[0]
    found = own
    if (not note and not own) or another or (of == topic and by == journal):
        found = max(own, noted)
    if found > high:
        shorter = "the log is shorter than what was read of it; it is read from its beginning"
        return Place(low, told=shorter, other=another)
    # A partition that nothing was read of begins at its oldest record: how many were there before is not known.
    return Place(max(found, low), lost=max(0, low - found) if found > 0 else 0, other=another)


class KafkaIn(Polling):
    """Read one topic. A round lasts as long as its client: until we stop, or something is wrong with it.

    Attributes:
        unread: records that wait in the topic.
        unread_age_s: how old those are that are taken just now, where that is more than ``behind``; else None.
        lost: records that retention deleted before they were read, since the start.
    """

    def __init__(self, source: Settings, handler: StreamHandler, memory: PollMemory) -> None:
        super().__init__(str(source.connect[0]), handler)
        self._source, self._memory = source, memory
        self._causes = Causes()
        self._room = asyncio.Semaphore(source.max_connections)  # one stream more would end another
        self._topic_id = ""
        self._places: dict[int, int] = {}  # of the partitions that are ours
        self._leaderless = False  # a partition of ours could not be read
        self._fault_in_call: Exception | None = None  # of the library's
        self._overtaken = False  # others may have delivered newer documents than those that wait here
        self._leaving = False  # the client closes; the partitions stay ours
        self._proof = (float("-inf"), 0.0)  # when the group last took our note: monotonic, wall time
        self.unread = 0
        self.unread_age_s: float | None = None
        self.lost = 0

    async def _break_off(self, task: asyncio.Task[None]) -> None:
        """A call of the library cannot be."""
        await asyncio.wait({task}, timeout=ANSWER_S)

    def raise_if_not_ours(self) -> None:
        """Right before a document is sent.

        Raises:
            HeldBackError: another feeder may have delivered newer ones. StoreError: that is not known now.
        """
        if self._overtaken:
            raise HeldBackError("another feeder has read on in the topic, and may have delivered newer documents")
        if not self._places or self._unproven_s > PROVEN_S:
            raise StoreError("it is not known whether the partitions of the topic are still ours")

    @property
    def _unproven_s(self) -> float:
        """By both clocks: one stops while the machine sleeps, the other may be set."""
        return max(time.monotonic() - self._proof[0], abs(time.time() - self._proof[1]))

    # -- reading -------------------------------------------------------------------------------------------------

    async def _round(self) -> None:
        """The next client begins at the journal's places."""
        with self._causes.told(self._source.topic):
            client = _Client(self._source, self._causes)
            self._leaving = False
            try:
                await self._read(client)
            finally:
                self._leaving = True
                await asyncio.to_thread(client.close)

    async def _read(self, client: "_Client") -> None:
        shape = await asyncio.to_thread(client.shape)
        known, (self._topic_id, partitions) = self._topic_id, shape
        if known not in ("", self._topic_id):
            self._notices["the topic was made anew; it is read from its beginning"] = None
        member = f"{self._memory.journal()}-{self._topic_id}-{partitions}"
        await asyncio.to_thread(client.subscribe, member, self._assigned, self._revoked, self._lost)
        looked = time.monotonic()
        while not self._stopping.is_set():
            records = await asyncio.to_thread(client.consumer.consume, BATCH, WAIT_S)
            if (fault := self._fault_in_call) is not None:
                self._fault_in_call = None
                raise fault
            await self._take(records)
            if records or self._unproven_s > WAIT_S:
                await asyncio.to_thread(self._note, client.consumer)
            self._look(client, records)
            self._works()
            self._say()
            if time.monotonic() - looked > LOOK_S:
                looked = time.monotonic()
                if self._leaderless or await asyncio.to_thread(client.shape) != shape:
                    return

    def _assigned(self, consumer: Any, partitions: list[Any]) -> None:
        """Partitions are ours from now on. Called while records are waited for: the library loses an exception here,
        and the thread with it.
        """
        try:
            self._begin(consumer, partitions)
        except Exception as error:
            self._places, self._fault_in_call = {}, error
            consumer.assign([])

    def _begin(self, consumer: Any, partitions: list[Any]) -> None:
        noted = {one.partition: one for one in consumer.committed(partitions, timeout=ANSWER_S)} if partitions else {}
        places: dict[int, int] = {}
        self._places, ours, journal = {}, [], self._memory.journal()
        self._overtaken = not partitions
        for one in partitions:
            said, ends = noted[one.partition], _ends(consumer, one, timeout=ANSWER_S)
            if ends is None:
                continue
            found = place(
                own=self._memory.number(self._resource(one.partition)),
                noted=said.offset,
                note=said.metadata or "",
                journal=journal,
                topic=self._topic_id,
                low=ends[0],
                high=ends[1],
            )
            if found.told:
                self._notices[f"partition {one.partition}: {found.told}"] = None
            if found.lost:
                self.lost += found.lost
                told = {"place": one.partition, "count": found.lost}
                logger.error("retention has deleted records before they were read", extra={"peer": self._peer} | told)
            self._overtaken |= found.other
            places[one.partition] = one.offset = found.offset
            ours.append(one)
        self._leaderless = len(ours) < len(partitions)
        if self._leaderless and not ours:
            raise SearchError("the partitions cannot be read now; they are asked for again")
        while self._overtaken and self._drains():  # before our name is in the group's notes
            time.sleep(DRAIN_S)
        self._overtaken, self._places = not places, places
        consumer.assign(ours)
        self._note(consumer)

    def _drains(self) -> bool:
        """Whether documents wait that are to be delivered, or held, before the partitions change."""
        waits = not self._leaving and not self._stopping.is_set() and self._memory.waits()
        if waits:
            self._trouble = "feeders have changed: records taken here are delivered, or held, before more are read"
        return waits

    def _revoked(self, consumer: Any, partitions: list[Any]) -> None:
        """Partitions are another reader's from now on, which reads on at our note."""
        try:
            self._note(consumer)
            while self._places and self._unproven_s < MISSED_MS / 1000 and self._drains():
                time.sleep(DRAIN_S)
                self._note(consumer)
        except Exception as error:
            self._fault_in_call = error
        self._places = {}

    def _lost(self, consumer: Any, partitions: list[Any]) -> None:
        """The group has missed us, and given them to others."""
        self._places = {}

    def _note(self, consumer: Any) -> None:
        kind, began = library().TopicPartition, (time.monotonic(), time.time())
        note = f"{self._memory.journal()} {self._topic_id}"
        places = [kind(self._source.topic, number, offset, note) for number, offset in self._places.items()]
        with contextlib.suppress(library().KafkaException):  # it is a note: the place is the journal's
            if places:
                consumer.commit(offsets=places, asynchronous=False)
                self._proof = began

    async def _take(self, records: list[Any]) -> None:
        """Store a batch.

        Raises:
            KafkaException: the library says that something is wrong.
            SearchError: a record could not be stored; those before it in its partition are.
        """
        parts: dict[int, list[Any]] = {}
        for record in records:
            if record.error() is not None:
                raise library().KafkaException(record.error())
            parts.setdefault(record.partition(), []).append(record)
        if parts:
            self._causes.forget()
        ended = await asyncio.gather(*map(self._take_part, parts.values()), return_exceptions=True)
        for error in filter(None, ended):
            raise error

    async def _take_part(self, records: Iterable[Any]) -> None:
        for record in records:
            if content := record.value():
                await self._store(record, content)
            else:
                self._notices["records without content were passed over"] = None
            self._places[record.partition()] = record.offset() + 1

    async def _store(self, record: Any, content: bytes) -> None:
        if self._stopping.is_set():
            raise SearchError("stopped")
        polled = PolledVersion(
            resource=self._resource(record.partition()),
            version=str(record.offset()),
            updated_us=0,
            number=record.offset() + 1,
            key=(dict(record.headers() or []).get("Idempotency-Key") or b"").decode("utf-8", "replace"),
        )
        async with self._room:
            if await self._hand_on(content, polled) != ACK:
                raise SearchError("a record could not be stored yet; it is read again")

    def _resource(self, partition: int) -> str:
        return f"kafka/{self._topic_id}/{partition}"

    # -- for people ----------------------------------------------------------------------------------------------

    def _look(self, client: "_Client", records: list[Any]) -> None:
        """How far behind the newest record we are."""
        self.unread = sum(max(0, client.newest(number) - at) for number, at in self._places.items())
        if not self.unread:
            self.unread_age_s = None
        elif records:
            age_s = time.time() - min(one.timestamp()[1] for one in records) / 1000
            self.unread_age_s = age_s if age_s > self._source.behind else None


class _Client:
    """The library's clients of one topic; each call but those of `newest` waits, and is made in a thread."""

    def __init__(self, source: Settings, causes: Causes) -> None:
        self._source = source
        self._part = library().TopicPartition
        self._shared = settings("source", source, source.group, causes)
        self._admin_of = importlib.import_module("confluent_kafka.admin")
        self._admin = self._admin_of.AdminClient(self._shared)
        self.consumer: Any = None

    def described(self) -> Any:
        """The topic, with our rights there."""
        asked = library().TopicCollection([self._source.topic])
        said = self._admin.describe_topics(asked, include_authorized_operations=True, request_timeout=ANSWER_S)
        return said[self._source.topic].result()

    def shape(self) -> tuple[str, int]:
        """The topic's id, which is another one where it was made anew under the same name, and its partitions."""
        found = self.described()
        return str(found.topic_id), len(found.partitions)

    def may_read(self) -> bool:
        """Whether we may read the topic and be of the group; rights that the broker does not tell count as ours."""
        asked = self._admin.describe_consumer_groups(
            [self._source.group], include_authorized_operations=True, request_timeout=ANSWER_S
        )
        rights = [self.described().authorized_operations]
        try:
            rights.append(asked[self._source.group].result().authorized_operations)
        except library().KafkaException as fault:
            if fault.args[0].name() != "GROUP_ID_NOT_FOUND":  # it will be made
                raise
        read = self._admin_of.AclOperation.READ
        return all(not some or read in some for some in rights)

    def subscribe(self, member: str, assigned: Any, revoked: Any, lost: Any) -> None:
        more = {
            "group.id": self._source.group,
            "group.instance.id": re.sub(r"[^A-Za-z0-9._-]", "-", member),
            "session.timeout.ms": MISSED_MS,
            "max.poll.interval.ms": LONGEST_MS,
            "enable.auto.commit": False,
            "enable.auto.offset.store": False,
            "auto.offset.reset": "error",  # a place that is not there is ours to judge
            "receive.message.max.bytes": 2 * LARGEST_BYTES,
            "queued.max.messages.kbytes": QUEUED_KB,
            "fetch.message.max.bytes": 4 * 1024 * 1024,
        }
        self.consumer = library().Consumer(self._shared | more)
        self.consumer.subscribe([self._source.topic], on_assign=assigned, on_revoke=revoked, on_lost=lost)

    def newest(self, partition: int) -> int:
        """The number behind the newest record, as the last answer said."""
        return (_ends(self.consumer, self._part(self._source.topic, partition), cached=True) or (0, 0))[1]

    def close(self) -> None:
        if self.consumer is not None:
            self.consumer.close()


def _ends(consumer: Any, partition: Any, **how: Any) -> tuple[int, int] | None:
    """The oldest record of a partition, and the number of the next; None where they cannot be read now."""
    try:
        found: tuple[int, int] | None = consumer.get_watermark_offsets(partition, **how)
    except:  # noqa: E722 - the library raises an object that is no exception, and ends a thread that lets it pass
        found = None
    return found


def build(source: Settings, handler: StreamHandler, memory: PollMemory) -> KafkaIn:
    """The transport of one channel."""
    return KafkaIn(source, handler, memory)


async def probe(source: Settings) -> None:
    """Look whether the topic is there, and take nothing.

    Raises:
        DeliveryError, ConfigError: why it cannot be read.
    """
    causes = Causes()
    with causes.told(source.topic):
        client = await asyncio.to_thread(_Client, source, causes)
        may_read = await asyncio.to_thread(client.may_read)
    if not may_read:
        raise DestinationDownError(
            ReasonCode.NOT_AUTHORIZED, f"no right to read topic {source.topic} in {source.group}"
        )
