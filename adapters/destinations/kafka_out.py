"""A topic of Kafka: each document is one record, delivered once all in-sync replicas have it (`acks=all`).

Key: `gateway/channel`, so that a lane is one partition and keeps its order. A broker that cannot reach the others keeps
each record that it gets, and acknowledges none; so a record that an attempt has not seen acknowledged stays with the
library, and the next attempt waits for that one: an outage makes one repeat of it in `LEFT_MS`. After an error that the
library calls fatal the producer is of no use any more: what it holds is purged, and the next attempt makes a new one.
The same where a person closes, edits or pauses one of these. A record may come twice, under one key; never by another
number.

`adapters.clients.kafka` has the meaning of each answer. Headers hold nothing of a patient.
"""

import asyncio
import importlib
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any, Protocol

from adapters.clients.kafka import LARGEST_BYTES, Brokers, Causes, failure, library, settings
from engine.model.errors import TransientDeliveryError
from engine.model.message import Delivery
from engine.model.process.clock import Clock
from engine.model.texts.reasons import ReasonCode

DAY_MS = 86_400_000
LONGEST_MS = 30 * DAY_MS
ROOM_BYTES = 16 * 1024 * 1024  # a report with a PDF
POLL_S = 0.5
LEFT_MS = 15 * 60 * 1000  # then the library forgets a record


class KafkaConfig(Brokers, Protocol):
    """The settings of this destination, from its YAML block."""

    gateway: str
    keeps: float
    timeout: float


class KafkaOut:
    """See `engine.model.ports.Destination`.

    Attributes:
        journal: says which journal this is, and its incarnation.

    Raises:
        ConfigError: the library is not installed, or a certificate or key file cannot be used.
    """

    def __init__(self, name: str, config: KafkaConfig) -> None:
        self._name, self._config = name, config
        self._kafka = library()
        self._causes = Causes()
        self._settings = settings(name, config, config.gateway, self._causes)
        self._producer: Any = None
        # By key, of deliveries whose attempt has ended: channel, document and end.
        self._open_records: dict[str, tuple[str, bytes, asyncio.Future[Any]]] = {}
        self._poller: threading.Thread | None = None
        self._stop = threading.Event()
        self.journal: Callable[[], str] = str

    async def start(self) -> None:
        """Nothing to open: the first delivery connects."""

    async def deliver(self, delivery: Delivery) -> None:
        try:
            done = self._record_of(delivery)
        except BufferError:
            raise TransientDeliveryError(ReasonCode.BUSY, "too many records wait to be sent") from None
        except self._kafka.KafkaException as fault:
            error = fault.args[0]
        else:
            try:
                await asyncio.wait({done}, timeout=self._config.timeout)
            finally:
                if not done.done():
                    self._open_records[delivery.key] = (delivery.channel, delivery.body, done)
            error = done.result() if done.done() else self._kafka.KafkaError(self._kafka.KafkaError._MSG_TIMED_OUT)
        if error is not None:
            self._causes.hear(error)
            raise failure(self._causes.of(error), self._config.topic)
        self._causes.forget()

    def _record_of(self, delivery: Delivery) -> "asyncio.Future[Any]":
        """Its record, which an earlier attempt may have left with the library; then that one is waited for.

        Raises:
            BufferError, KafkaException: the library does not take it.
        """
        producer, loop = self._open(), asyncio.get_running_loop()
        _, body, left = self._open_records.pop(delivery.key, ("", b"", None))
        if left is not None and body == delivery.body and not (left.done() and left.result()):
            return left
        self._open_records = {key: one for key, one in self._open_records.items() if not one[2].done()}
        done: asyncio.Future[Any] = loop.create_future()

        def told(error: Any, _: Any) -> None:
            with suppress(RuntimeError):  # the loop has ended
                loop.call_soon_threadsafe(_settle, done, error)

        key = f"{self._config.gateway}/{delivery.channel}"
        producer.produce(self._config.topic, delivery.body, key, headers=self._headers(delivery), on_delivery=told)
        return done

    def _headers(self, delivery: Delivery) -> list[tuple[str, str]]:
        headers = [
            ("Idempotency-Key", delivery.key),
            ("labrelay-journal", self.journal()),
            ("labrelay-number", str(delivery.seq)),
            ("labrelay-message", str(delivery.message_id)),
            ("content-type", delivery.media_type),
        ]
        return [*headers, ("traceparent", delivery.traceparent)] if delivery.traceparent else headers

    def _open(self) -> Any:
        if self._causes.fatal:
            self._drop()
            self._causes.fatal = False
        if self._producer is None:
            left_ms = min(int(self._config.timeout * 1000), LEFT_MS)
            self._producer = self._kafka.Producer(
                self._settings
                | {
                    "acks": "all",
                    "enable.idempotence": True,
                    "linger.ms": 5,
                    "compression.type": "lz4",
                    "topic.metadata.propagation.max.ms": min(5000, left_ms // 4),  # then there is no such topic
                    "partitioner": "murmur2_random",  # that of Kafka's own clients
                    "message.max.bytes": LARGEST_BYTES,
                    "message.timeout.ms": LEFT_MS,
                    "request.timeout.ms": left_ms,  # then the library asks again, and the broker knows the record
                    "socket.timeout.ms": max(10, min(left_ms, 300_000)),
                }
            )
            self._stop = threading.Event()
            args = (self._producer, self._stop)
            self._poller = threading.Thread(target=self._poll, args=args, name=f"kafka of {self._name}", daemon=True)
            self._poller.start()
        return self._producer

    def _poll(self, producer: Any, stop: threading.Event) -> None:
        while not stop.is_set():
            try:
                producer.poll(POLL_S)
            except self._kafka.KafkaException as fault:  # as a fatal one is reported
                self._causes.hear(fault.args[0])
        with suppress(self._kafka.KafkaException):
            producer.poll(0)  # what was purged

    def _drop(self) -> None:
        """Forget the producer, and all that it holds."""
        producer, self._producer = self._producer, None
        self._open_records.clear()
        if producer is not None:
            producer.purge()
            self._stop.set()

    def withdraw(self, channel: str) -> None:
        """Forget records that wait in the library. The library forgets all at once: other attempts fail, and are made
        anew.
        """
        if any(one[0] == channel or not channel for one in self._open_records.values() if not one[2].done()):
            self._drop()

    async def probe(self) -> str | None:
        """Read the topic's replicas and settings, and send nothing."""
        found = await asyncio.to_thread(self._look)
        return "; ".join(found) or None

    def _look(self) -> list[str]:
        """Advice on the topic.

        Raises:
            DeliveryError: it cannot be reached, or is not there.
        """
        admin_of = importlib.import_module("confluent_kafka.admin")
        admin, topic = admin_of.AdminClient(self._settings), self._config.topic
        with self._causes.told(topic):
            shown = admin.list_topics(topic, timeout=min(self._config.timeout, 8.0)).topics[topic]
        if shown.error is not None:
            raise failure(shown.error, topic)
        replicas = min((len(one.replicas) for one in shown.partitions.values()), default=0)
        asking = admin_of.ConfigResource(admin_of.ConfigResource.Type.TOPIC, topic)
        try:
            [asked] = admin.describe_configs([asking], request_timeout=min(self._config.timeout, 8.0)).values()
            said = {name: entry.value for name, entry in asked.result().items()}
        except self._kafka.KafkaException:
            return [f"the settings of topic {topic} cannot be read; give us DescribeConfigs there, or look yourself"]
        return advice(replicas, said, self._config.keeps)

    async def close(self) -> None:
        poller, self._poller = self._poller, None
        self._drop()
        if poller is not None:
            await asyncio.to_thread(poller.join, 5.0)


def build(name: str, config: KafkaConfig, clock: Clock) -> KafkaOut:
    """The destination ``name`` of a site.

    Raises:
        ConfigError: the library is not installed, or a certificate or key file cannot be used.
    """
    return KafkaOut(name, config)


def advice(replicas: int, settings: Mapping[str, str], keeps_s: float) -> list[str]:
    """What a person should know of a topic with these settings, and should change there.

    Args:
        replicas: of the partition that has fewest.
        keeps_s: how long the site says that the topic keeps a record.
    """
    found = []
    if replicas < 3:
        found.append(f"its topic has fewer than 3 replicas ({replicas}): a broker that dies may stop it")
    if _number(settings, "min.insync.replicas", 2) < 2:
        found.append("min.insync.replicas is 1: a record that one broker has counts as delivered; set it to 2")
    if settings.get("unclean.leader.election.enable") == "true":
        found.append("unclean.leader.election.enable is true: delivered records can be lost; set it to false")
    if "compact" in settings.get("cleanup.policy", ""):
        found.append("cleanup.policy has compact, which drops all but the last record of a channel; set it to delete")
    kept_ms = _number(settings, "retention.ms", round(keeps_s * 1000))
    if kept_ms < 0 or kept_ms > LONGEST_MS:
        found.append("retention.ms is over 30 days: a log cannot forget one patient; 7 days are enough")
    elif kept_ms != round(keeps_s * 1000):
        found.append(f"retention.ms is {kept_ms / DAY_MS:g} days, and keeps here {keeps_s * 1000 / DAY_MS:g}")
    if _number(settings, "max.message.bytes", ROOM_BYTES) < ROOM_BYTES:
        found.append("max.message.bytes is under 16 MiB: a report with a PDF may be refused, as a dead letter")
    return found


def _number(settings: Mapping[str, str], name: str, unseen: int) -> int:
    """The setting, or ``unseen`` where the broker does not show it."""
    return int(settings.get(name) or unseen)


def _settle(done: "asyncio.Future[Any]", error: Any) -> None:
    if not done.done():
        done.set_result(error)
