"""What is Kafka's own: key and headers, what answers mean, the settings of a topic, and a library that is absent."""

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError

from adapters.destinations import kafka_out
from adapters.destinations.kafka_out import DAY_MS, KafkaOut, advice
from engine.config.destinations.destination import destination_type
from engine.model.errors import (
    ConfigError,
    DeliveryError,
    DestinationDownError,
    RefusedDeliveryError,
    TransientDeliveryError,
)
from engine.model.process.clock import ManualClock
from engine.model.texts.reasons import ReasonCode
from engine.runtime.observing.ends import SeenEnds
from tests.support.deliveries import delivery
from tests.support.kafka_peer import SILENCE, Peer, kafka_peer
from tests.support.ports import quiet_ports
from tests.support.running import MLLP, channel, running_site
from tests.support.senders import send_blocks
from tests.support.waiting import until

GOOD = {
    "min.insync.replicas": "2",
    "retention.ms": str(7 * DAY_MS),
    "cleanup.policy": "delete",
    "unclean.leader.election.enable": "false",
    "max.message.bytes": str(16 * 1024 * 1024),
}


@asynccontextmanager
async def opened(peer: Peer, **keys: Any) -> AsyncIterator[KafkaOut]:
    block = {"kind": "kafka", "connect": f"127.0.0.1:{peer.port}", "topic": "lab.results", "gateway": "city-lab"}
    config = TypeAdapter(destination_type()).validate_python(block | {"timeout": "10s"} | keys)
    out = kafka_out.build("log", config, ManualClock())
    async with asyncio.timeout(120):
        try:
            yield out
        finally:
            await out.close()


async def test_a_record_has_the_lane_as_its_key_and_nothing_of_a_patient_in_its_headers() -> None:
    sent = delivery(b"{}", seq=7, traceparent="00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01")
    async with kafka_peer() as peer, opened(peer) as out:
        out.journal = lambda: "0f0f/3"
        await out.deliver(sent)
        await out.deliver(delivery(b"[]", seq=8))
    first, second = peer.kept
    assert peer.acks == {-1}  # all in-sync replicas
    assert (first.key, first.value) == ("city-lab/chemistry", b"{}")
    assert first.headers == {
        "Idempotency-Key": sent.key,
        "labrelay-journal": "0f0f/3",
        "labrelay-number": "7",
        "labrelay-message": "4711",
        "content-type": "application/fhir+json",
        "traceparent": sent.traceparent,
    }
    assert "traceparent" not in second.headers


async def test_a_running_site_names_its_journal_and_incarnation(tmp_path: Path) -> None:
    async with kafka_peer() as peer:
        keys = {"kind": "kafka", "connect": f"127.0.0.1:{peer.port}", "topic": peer.topic, "gateway": "g"}
        async with running_site(tmp_path, {"chem": channel(MLLP, {"to": "out"})}, {"out": keys}) as site:
            await send_blocks(site.port("chem"), [b"MSH|^~\\&|||||||ORU^R01|1|P|2.3\r"])
            await until(lambda: len(peer.kept) == 1)
            [record] = peer.kept
            assert record.headers["labrelay-journal"] == f"{site.journal.journal_id.hex()}/1"
            assert record.key == "g/chem"
            ends = await SeenEnds(site.app.parts, site.app.clock).destination("out")
            assert (ends.host, ends.port) == ("127.0.0.1", peer.port)


@pytest.mark.parametrize(
    ("code", "kind", "reason"),
    [
        (10, RefusedDeliveryError, ReasonCode.REFUSED),  # MSG_SIZE_TOO_LARGE
        (87, RefusedDeliveryError, ReasonCode.REFUSED),  # INVALID_RECORD
        (29, DestinationDownError, ReasonCode.NOT_AUTHORIZED),  # TOPIC_AUTHORIZATION_FAILED
        (19, TransientDeliveryError, ReasonCode.NO_ANSWER),  # NOT_ENOUGH_REPLICAS, until the attempt ends
    ],
)
async def test_an_answer_of_the_broker_has_its_meaning(
    code: int, kind: type[DeliveryError], reason: ReasonCode
) -> None:
    async with kafka_peer(fault=code) as peer, opened(peer) as out:
        with pytest.raises(DeliveryError) as caught:
            await out.deliver(delivery(b"{}"))
        assert (type(caught.value), caught.value.reason) == (kind, reason), str(caught.value)
        peer.go_on()
        await out.deliver(delivery(b"{}"))  # whatever the answer was, the next document goes
    assert [one.value for one in peer.kept] == [b"{}"]


async def test_a_topic_that_is_not_there_is_named() -> None:
    async with kafka_peer(unknown=True) as peer, opened(peer) as out:
        for attempt in (out.deliver(delivery(b"{}")), out.probe()):
            with pytest.raises(DestinationDownError) as caught:
                await attempt
            assert caught.value.reason is ReasonCode.WRONG_ADDRESS
            assert "no topic lab.results; check topic" in str(caught.value)


async def test_after_a_fatal_error_the_next_attempt_has_a_new_producer() -> None:
    """OUT_OF_ORDER_SEQUENCE_NUMBER of a record that stands alone: its numbering is lost for good."""
    async with kafka_peer(fault=45) as peer, opened(peer) as out:
        with pytest.raises(TransientDeliveryError):
            await out.deliver(delivery(b"{}"))
        before = peer.producers
        peer.go_on()
        await out.deliver(delivery(b"{}"))
    assert peer.producers > before
    assert len(peer.kept) == 1


async def test_a_record_without_an_answer_is_waited_for_and_not_sent_again() -> None:
    """A broker that cannot reach the others keeps each record that it gets, and answers none."""
    async with kafka_peer(fault=SILENCE) as peer, opened(peer, timeout="500ms") as out:
        for _ in range(2):
            with pytest.raises(TransientDeliveryError) as caught:
                await out.deliver(delivery(b"{}"))
            assert caught.value.reason is ReasonCode.NO_ANSWER
        await until(lambda: bool(peer.came))  # two of one batch would be compressed
        with pytest.raises(TransientDeliveryError):
            await out.deliver(delivery(b"[]"))  # meanwhile its document has changed
        peer.go_on()
        async with asyncio.timeout(60):
            while True:
                with suppress(TransientDeliveryError):
                    await out.deliver(delivery(b"[]"))
                    break
    assert [one.value for one in peer.came.values()] == [b"{}", b"[]"]


@pytest.mark.parametrize("of", ["chemistry", "", "another"])
async def test_a_record_that_waits_in_the_library_is_withdrawn_with_its_delivery(of: str) -> None:
    """No broker is there yet. ``of``: the lane that a person has changed, all, or another one."""
    [port] = quiet_ports(1)
    async with opened(Peer(port=port), timeout="500ms") as out:
        with pytest.raises(TransientDeliveryError):
            await out.deliver(delivery(b"first"))
        out.withdraw(of)
        async with kafka_peer(port=port) as peer, asyncio.timeout(60):
            if of == "another":
                await until(lambda: bool(peer.kept))  # two of one batch would be compressed
            while True:
                with suppress(TransientDeliveryError):
                    await out.deliver(delivery(b"next", seq=8))
                    break
    assert [one.value for one in peer.kept] == [b"first", b"next"][of != "another" :]


@pytest.mark.parametrize(
    ("replicas", "changes", "said"),
    [
        (3, {}, ""),
        (2, {}, "fewer than 3 replicas (2)"),
        (3, {"min.insync.replicas": "1"}, "min.insync.replicas is 1"),
        (3, {"unclean.leader.election.enable": "true"}, "unclean.leader.election.enable is true"),
        (3, {"cleanup.policy": "compact,delete"}, "cleanup.policy has compact"),
        (3, {"retention.ms": "-1"}, "retention.ms is over 30 days"),
        (3, {"retention.ms": str(31 * DAY_MS)}, "retention.ms is over 30 days"),
        (3, {"retention.ms": str(DAY_MS)}, "retention.ms is 1 days, and keeps here 7"),
        (3, {"max.message.bytes": "1048588"}, "max.message.bytes is under 16 MiB"),
    ],
)
async def test_check_online_warns_of_each_setting_of_the_topic(
    replicas: int, changes: dict[str, str], said: str
) -> None:
    async with kafka_peer(replicas=replicas, settings=GOOD | changes) as peer, opened(peer) as out:
        found = await out.probe() or ""
    assert said in found
    assert bool(found) == bool(said)
    assert len(advice(replicas, GOOD | changes, 7 * 86400.0)) == bool(said)  # one fact, one sentence
    assert peer.kept == []


def test_without_the_extra_the_error_says_what_to_install() -> None:
    code = (
        "import sys; sys.modules['confluent_kafka'] = None\n"
        "from adapters.clients.kafka import library\n"
        "from engine.model.errors import ConfigError\n"
        "try: library()\n"
        "except ConfigError as error: print(error)"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert "labrelay[kafka]" in ran.stdout


@pytest.mark.parametrize(
    ("keys", "field"),
    [
        ({"connect": []}, "connect"),
        ({"connect": "broker"}, "connect"),
        ({"topic": "a/b"}, "topic"),
        ({"gateway": "a/b"}, "gateway"),
        ({"keeps": "0s"}, "keeps"),
        ({"tls": {"cert": "a.pem"}}, "tls"),
    ],
)
def test_a_wrong_value_is_named_by_its_field(keys: dict[str, Any], field: str) -> None:
    block = {"kind": "kafka", "connect": "k:9092", "topic": "t", "gateway": "g"} | keys
    with pytest.raises(ValidationError) as caught:
        TypeAdapter(destination_type()).validate_python(block)
    assert [one["loc"][1] for one in caught.value.errors()] == [field]


async def test_a_certificate_that_cannot_be_read_is_named() -> None:
    async with kafka_peer() as peer:
        with pytest.raises(ConfigError, match=r"destinations\.log\.tls: .*ca\.pem"):
            async with opened(peer, tls={"ca": "/nowhere/ca.pem"}):
                pass
