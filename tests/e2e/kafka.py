"""Documents to a real Kafka, whose broker and whose gateway are killed: nothing is lost, nothing overtakes."""

import asyncio
import contextlib
import random
from collections.abc import Iterable
from contextlib import AsyncExitStack
from pathlib import Path

import confluent_kafka
import pytest
from confluent_kafka.admin._acl import AclOperation
from confluent_kafka.admin._resource import ResourceType
from pydantic import TypeAdapter

from adapters.destinations import kafka_out
from adapters.transports import kafka as kafka_in
from engine.config.destinations.destination import KafkaDestination, destination_type
from engine.config.sources.source import source_type
from engine.model.errors import DestinationDownError, RefusedDeliveryError
from engine.model.journal.journal_views import Filter
from engine.model.process.clock import SystemClock
from engine.model.texts.reasons import ReasonCode
from engine.monitoring.snapshot.channels import ChannelSnapshot
from engine.store.queries.messages import messages_page
from engine.store.queries.reader import Reader
from engine.store.queries.servers import taken_number
from tests.support.command_line import labrelay
from tests.support.deliveries import delivery
from tests.support.http_sender import sender
from tests.support.kafka_chain import LANES, TOPIC, count, delivered, lanes_of, write_feeder, write_site
from tests.support.kafka_engine import USERS, Engine, kafka_engine
from tests.support.killed import Daemon
from tests.support.running import RunningSite, channel, running_site
from tests.support.scripted_http import http, scripted
from tests.support.waiting import until
from workbench.bench.messages import control_id, oru

MESSAGES = 120  # of each lane


async def send_all(port: int, lane: int, answered: list[int]) -> None:
    """Send each message until it is answered."""
    rng = random.Random(lane)
    texts = [oru(lane, number, rng) for number in range(MESSAGES)]
    while len(answered) < MESSAGES:
        with contextlib.suppress(OSError):
            async with sender(port) as one:
                while len(answered) < MESSAGES and (said := await one.post(texts[len(answered)])) is not None:
                    assert said.status == 200
                    answered.append(len(answered))
        await asyncio.sleep(0.02)  # while nothing listens


def judged(engine: Engine) -> int:
    """Nothing is lost, nothing is out of order, and repeats have the key of the first; returns how many there are."""
    lanes = lanes_of(engine)
    assert lanes.keys() == {f"city-lab/lane{lane}" for lane in range(LANES)}
    repeats = 0
    for records in lanes.values():
        first = list(dict(records).values())  # of each key the first place, for a dict keeps it
        assert first == list(range(MESSAGES))
        numbers: dict[str, set[int]] = {}
        for key, number in records:
            numbers.setdefault(key, set()).add(number)
        assert all(len(same) == 1 for same in numbers.values())
        repeats += len(records) - len(numbers)
    return repeats


async def test_a_document_is_a_record_and_what_is_wrong_there_is_said(tmp_path: Path) -> None:
    with kafka_engine(tmp_path) as engine:
        await engine.ready()
        engine.make(TOPIC, 4, {"retention.ms": "-1", "max.message.bytes": "20000"})
        keys = {"connect": engine.connect, "topic": TOPIC, "gateway": "city-lab", "timeout": "10s"}
        out = kafka_out.build("log", KafkaDestination(kind="kafka", **keys), SystemClock())
        other = kafka_out.build("log", KafkaDestination(kind="kafka", **keys | {"topic": "other"}), SystemClock())
        try:
            await out.deliver(delivery(b"{}", seq=1))
            with pytest.raises(RefusedDeliveryError, match=r"max\.message\.bytes"):
                await out.deliver(delivery(random.Random(1).randbytes(30_000), seq=2))
            await out.deliver(delivery(b"[]", seq=3))
            for attempt in (other.deliver(delivery(b"{}")), other.probe()):
                with pytest.raises(DestinationDownError, match="no topic other"):
                    await attempt
            said = await out.probe() or ""
        finally:
            await out.close()
            await other.close()
        found = engine.records(TOPIC)
        write_site(tmp_path / "site", engine)
        checked = await asyncio.to_thread(labrelay, "check", "--online", site=tmp_path / "site")
    assert [one.value() for one in found] == [b"{}", b"[]"]
    assert {one.partition() for one in found} == {found[0].partition()}
    for warned in ("fewer than 3 replicas", "min.insync.replicas", "over 30 days", "under 16 MiB"):
        assert warned in said
        assert warned in checked.out


async def test_who_may_not_is_told_so_and_who_may_writes_and_reads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, password in (*USERS.items(), ("wrong", "wr0ng")):
        monkeypatch.setenv(name.upper(), password)

    def keys(name: str, password: str = "") -> dict[str, object]:
        auth = {"basic": {"user": name, "password": f"${{{(password or name).upper()}}}"}}
        return {"kind": "kafka", "connect": engine.guarded, "topic": TOPIC, "auth": auth, "mechanism": "PLAIN"}

    def out(password: str = "") -> kafka_out.KafkaOut:
        block = keys("gateway", password) | {"gateway": "city-lab", "timeout": "10s"}
        return kafka_out.build("log", TypeAdapter(destination_type()).validate_python(block), SystemClock())

    with kafka_engine(tmp_path, with_users=True) as engine:
        await engine.ready()
        engine.make(TOPIC)
        source = TypeAdapter(source_type()).validate_python(keys("feeder") | {"group": "feed"})
        for password in ("", "wrong"):  # without a right, and without the password
            refused = out(password)
            with pytest.raises(DestinationDownError) as told:
                await refused.deliver(delivery(b"{}"))
            assert told.value.reason is ReasonCode.NOT_AUTHORIZED
            await refused.close()
        engine.allow("gateway", AclOperation.WRITE, TOPIC)
        allowed = out()
        await allowed.deliver(delivery(b"{}"))
        await allowed.close()
        assert [one.value() for one in engine.records(TOPIC)] == [b"{}"]
        for right, of, kind in (
            (AclOperation.DESCRIBE, TOPIC, ResourceType.TOPIC),
            (AclOperation.READ, TOPIC, ResourceType.TOPIC),
            (AclOperation.READ, "feed", ResourceType.GROUP),
        ):
            with pytest.raises(DestinationDownError) as told:
                await kafka_in.probe(source)
            assert told.value.reason is ReasonCode.NOT_AUTHORIZED
            engine.allow("feeder", right, of, kind)
        await kafka_in.probe(source)


async def test_kills_of_broker_and_gateway_lose_nothing_and_reorder_nothing(tmp_path: Path) -> None:
    rng = random.Random(4711)
    with kafka_engine(tmp_path) as engine:
        await engine.ready()
        engine.make(TOPIC, 4)
        ports = write_site(tmp_path / "site", engine)
        answered: list[list[int]] = [[] for _ in ports]
        daemon = Daemon(tmp_path / "site")
        async with AsyncExitStack() as ending:
            ending.push_async_callback(daemon.kill)
            await daemon.start()
            async with asyncio.TaskGroup() as sending:
                for lane, port in enumerate(ports):
                    sending.create_task(send_all(port, lane, answered[lane]))
                for kill in range(5):
                    before = sum(map(len, answered))
                    await until(lambda before=before: sum(map(len, answered)) > before + 30, 240.0)
                    await asyncio.sleep(rng.uniform(0.0, 0.02))  # any moment
                    if kill % 2:
                        engine.kill()
                        engine.start()
                    else:
                        await daemon.kill()
                        await daemon.start()
            await asyncio.to_thread(delivered, tmp_path / "site")
        repeats = judged(engine)
    assert repeats <= 5 * LANES, "an attempt that a kill cut short comes once more, and no other"


def taken(site: Path) -> list[tuple[str, str]]:
    """What the feeder has in its journal, oldest first: the control id, and the reason where it is not delivered."""
    journal = Reader.beside(site / "var")
    found: list[tuple[str, str]] = []
    before: int | None = None
    try:
        while page := messages_page(journal, Filter(channel="feed"), before_id=before, limit=500):
            found += [(one.control_id, one.reason) for one in page]
            before = page[-1].id
    finally:
        journal.close()
    return found[::-1]


def produce(engine: Engine, lane: str, numbers: Iterable[int], key: str = "") -> None:
    """Write as a gateway does."""
    producer = confluent_kafka.Producer(engine.client(**{"enable.idempotence": True, "partitioner": "murmur2_random"}))
    for number in numbers:
        headers = [("Idempotency-Key", key or f"{lane}-{number}")]
        producer.produce(TOPIC, oru(int(lane[-1]), number, random.Random(number)), f"g/{lane}", headers=headers)
    assert producer.flush(60) == 0


def places(site: Path, topic_id: str, partitions: int) -> list[int]:
    """How many records of each partition the feeder has taken, as its journal says."""
    journal = Reader.beside(site / "var")
    try:
        return [taken_number(journal, "feed", f"kafka/{topic_id}/{one}") for one in range(partitions)]
    finally:
        journal.close()


async def test_a_feeder_that_is_killed_takes_each_record_once(tmp_path: Path) -> None:
    rng = random.Random(4711)
    kills, each = 30, 10
    with kafka_engine(tmp_path) as engine:
        await engine.ready()
        engine.make(TOPIC, LANES)
        topic_id = engine.id_of(TOPIC)
        async with scripted(http(200)) as server:
            site = write_feeder(tmp_path / "feeder", engine, server.url)
            daemon = Daemon(site)
            async with AsyncExitStack() as ending:
                ending.push_async_callback(daemon.kill)
                await daemon.start()
                for kill in range(kills):
                    for lane in range(LANES):
                        numbers = range(kill * each, (kill + 1) * each)
                        await asyncio.to_thread(produce, engine, f"lane{lane}", numbers)
                    await until(lambda kill=kill: count(site) > kill * each * LANES, 120.0)
                    await asyncio.sleep(rng.uniform(0.0, 0.1))  # any moment
                    await daemon.kill()
                    assert sum(places(site, topic_id, LANES)) == count(site), (
                        "a message without its place, or a place without its message"
                    )
                    await daemon.start()
                await until(lambda: count(site) >= kills * each * LANES, 120.0)
                await asyncio.to_thread(delivered, site)
            sent = [(one.headers["idempotency-key"], one.body) for one in server.requests]
    found = taken(site)
    assert len(found) == kills * each * LANES, "a record was taken twice, or not at all"
    for lane in range(LANES):
        ours = [one for one, _ in found if one == control_id(lane, int(one.partition("-")[2]))]
        assert ours == [control_id(lane, number) for number in range(kills * each)]
    assert len(set(sent)) == len({key for key, _ in sent}) == len(found), (
        "a repeat has its key and its bytes, and no other"
    )
    again = len(sent) - len(found)
    print(f"{kills} kills, {again} came once more")
    assert again <= kills, "what a kill cut short comes once more, and no other"


def feeding(engine: Engine) -> dict[str, dict[str, object]]:
    """A channel that reads the topic."""
    source = {"kind": "kafka", "connect": engine.connect, "topic": TOPIC, "group": "feeder", "format": "hl7v2"}
    return {"feed": channel(source | {"max_message": "4KiB", "behind": "1s"}, {"to": "out"})}


def feed(site: RunningSite) -> ChannelSnapshot:
    return next(one for one in site.app.observer.take().channels if one.name == "feed")


def ids(site: RunningSite) -> set[str]:
    return {one.control_id for one in site.messages("feed")}


async def test_nothing_in_a_topic_or_of_it_stops_the_reading_and_each_loss_is_said(tmp_path: Path) -> None:
    out = {"out": {"kind": "file", "folder": "out"}}
    with kafka_engine(tmp_path) as engine:
        await engine.ready()
        engine.make(TOPIC, 2, {"segment.bytes": "1048576"})
        poison = confluent_kafka.Producer(engine.client())
        for content in (None, b"", b"neither HL7 nor anything", b"MSH|" + b"x" * 5000, b"\x0bMSH|^~\\&|1\r\x1c\r" * 2):
            poison.produce(TOPIC, content, "g/lane0")
        assert poison.flush(60) == 0
        produce(engine, "lane0", range(3))
        produce(engine, "lane0", range(2, 3))  # its gateway sends the last one again
        async with running_site(tmp_path / "one", feeding(engine), out) as site:
            await until(lambda: len(site.messages("feed")) == 7, 120.0)  # two of the five have no content
            ends = {one.control_id: one.reason for one in site.messages("feed")}
            assert ends[control_id(0, 1)] == ""
            assert ends[control_id(0, 2)] == "REPEAT"
            assert "without content" in feed(site).notice
            unread = ("UNREADABLE", "TOO_LARGE")
            await until(lambda: sum(one.reason in unread for one in site.messages("feed")) >= 2, 120.0)
            engine.remove(TOPIC)
            await until(lambda: TOPIC not in engine.topics(), 60.0)
            engine.make(TOPIC, 1)
            produce(engine, "lane1", range(2))
            await until(lambda: ids(site) >= {control_id(1, 0), control_id(1, 1)}, 120.0)
            await until(lambda: "made anew" in feed(site).notice, 120.0)
        produce(engine, "lane1", range(2, 12))
        engine.delete_until(TOPIC, 0, 5)
        async with running_site(tmp_path / "one", feeding(engine), out) as site:
            await until(lambda: ids(site) >= {control_id(1, number) for number in range(5, 12)}, 120.0)
            assert not ids(site) & {control_id(1, number) for number in range(2, 5)}
            assert feed(site).lost == 3
            assert "deleted before they were read: 3" in str(site.app.observer.take().overall().phrase)


async def test_two_feeders_share_the_partitions_and_neither_takes_what_the_other_has(tmp_path: Path) -> None:
    out = {"out": {"kind": "file", "folder": "out"}}
    with kafka_engine(tmp_path) as engine:
        await engine.ready()
        engine.make(TOPIC, 4)
        for lane in range(8):
            produce(engine, f"lane{lane}", range(20))
        async with running_site(tmp_path / "one", feeding(engine), out) as one:
            await until(lambda: len(one.messages("feed")) == 160, 120.0)
            async with running_site(tmp_path / "two", feeding(engine), out) as two:
                for lane in range(8):
                    await asyncio.to_thread(produce, engine, f"lane{lane}", range(20, 40))
                both = lambda: [*one.messages("feed"), *two.messages("feed")]  # noqa: E731
                await until(lambda: len({each.control_id for each in both()}) == 320, 120.0)
                assert len(both()) == 320
