"""Documents to a real Kafka, whose broker and whose gateway are killed: nothing is lost, nothing overtakes."""

import asyncio
import contextlib
import random
import re
import time
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from adapters.destinations import kafka_out
from engine.config.destinations.destination import KafkaDestination
from engine.model.errors import DestinationDownError, RefusedDeliveryError
from engine.model.process.clock import SystemClock
from tests.support.command_line import labrelay
from tests.support.deliveries import delivery
from tests.support.http_sender import sender
from tests.support.kafka_engine import Engine, kafka_engine
from tests.support.killed import Daemon
from tests.support.ports import quiet_ports
from tests.support.waiting import until
from workbench.bench.messages import oru

LANES = 3
MESSAGES = 120  # of each lane
TOPIC = "lab.results"

SITE = """\
site: {{name: Test Lab, timezone: Asia/Kolkata}}
web: {{enabled: false}}
destinations:
  log:
    kind: kafka
    connect: [{connect}]
    topic: lab.results
    gateway: city-lab
    timeout: 5s
    retry: {{first: 200ms, max: 1s}}
    breaker: {{failures: 1000}}
"""
CHANNEL = """\
channel: lane{lane}
source: {{kind: http, listen: "127.0.0.1:{port}"}}
routes:
  - to: log
"""


def write_site(folder: Path, engine: Engine) -> list[int]:
    """A gateway with a lane for each port."""
    ports = quiet_ports(LANES)
    for name in ("config", "channels"):
        (folder / name).mkdir(parents=True)
    (folder / "config" / "labrelay.yaml").write_text(SITE.format(connect=", ".join(engine.connect)))
    for lane, port in enumerate(ports):
        (folder / "channels" / f"lane{lane}.yaml").write_text(CHANNEL.format(lane=lane, port=port))
    return ports


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


def lanes_of(engine: Engine) -> dict[str, list[tuple[str, int]]]:
    """Of each key, the delivery keys with the number of the message in its lane, as the topic has them."""
    found: dict[str, list[tuple[str, int]]] = {}
    for record in engine.records(TOPIC):
        headers = dict(record.headers() or [])
        [number] = re.findall(rb"B[0-9]{3}-([0-9]{8})", record.value() or b"")[:1]
        lane = found.setdefault((record.key() or b"").decode(), [])
        lane.append((headers["Idempotency-Key"].decode(), int(number)))
    return found


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


def delivered(site: Path) -> None:
    """Wait until nothing waits to be mapped or delivered, by the journal: a daemon that has just started has not mapped
    what it found, and its own answer may be a second old.
    """
    until_s = time.monotonic() + 240.0
    while True:
        said = labrelay("status", "--offline", "-o", "json", site=site).json
        if not any(one["stored_waiting"] for one in said["channels"]) and not any(
            one["waiting"] for one in said["lanes"]
        ):
            return
        assert time.monotonic() < until_s, "messages still wait"
        time.sleep(0.1)
