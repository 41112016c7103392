"""Documents to an MQTT broker: delivered on PUBACK only, and nothing is lost or wrongly credited in between."""

import asyncio
import gc
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from adapters.destinations import mqtt_out
from adapters.destinations.mqtt_out import MqttOut, topic_of
from engine.model.errors import DeliveryError, DestinationDownError, RefusedDeliveryError, TransientDeliveryError
from engine.model.process.clock import ManualClock
from engine.model.texts.reasons import ReasonCode
from engine.model.texts.units import HostPort
from tests.support.certificates import Authority
from tests.support.deliveries import Auth, Basic, Secret, Tls, delivery
from tests.support.mqtt_peer import ACK, CLOSE, DROP, LATE, Disconnect, Peer, Script, mqtt_peer
from tests.support.waiting import until

FHIR = b'{"resourceType":"Bundle"}'
PROPERTY_CONTENT_TYPE, PROPERTY_USER, PROPERTY_EXPIRY = 0x03, 0x26, 0x02
MAXIMUM_PACKET_SIZE, RECEIVE_MAXIMUM = b"\x27", b"\x21"


@dataclass(frozen=True, kw_only=True)
class Settings:
    connect: HostPort
    client_id: str = "labrelay-lab"
    topic: str = "lab/{channel}/{message_type}"
    version: str = "5"
    auth: Auth | None = None
    tls: Tls | None = None
    no_subscriber: str = "wait"
    concurrency: int = 8
    timeout: float = 60.0


@asynccontextmanager
async def destination(port: int, **changes: Any) -> AsyncIterator[MqttOut]:
    out = mqtt_out.build("feed", Settings(connect=HostPort("127.0.0.1", port), **changes), ManualClock())
    await out.start()
    try:
        yield out
    finally:
        await out.close()


async def outcome(*script: Script, **changes: Any) -> tuple[DeliveryError | None, Peer]:
    """What becomes of one delivery; ``changes`` of the settings, and ``broker_`` ones of the peer."""
    broker = {key.removeprefix("broker_"): changes.pop(key) for key in list(changes) if key.startswith("broker_")}
    async with mqtt_peer(*script, **broker) as peer, destination(peer.port, **changes) as out:
        try:
            await out.deliver(delivery(FHIR, message_type="ORU^R01", attempt=1, earlier=2))
        except DeliveryError as error:
            return error, peer
    return None, peer


# -- delivered ---------------------------------------------------------------------------------------------------


async def test_a_puback_is_delivered_and_says_what_it_is() -> None:
    error, peer = await outcome(ACK)
    assert error is None
    [sent] = peer.published
    assert (sent.topic, sent.payload, sent.qos, sent.retain) == ("lab/chemistry/ORU-R01", FHIR, 1, False)
    assert sent.properties[PROPERTY_CONTENT_TYPE] == ["application/fhir+json"]
    assert sent.properties[PROPERTY_USER] == [
        ("Idempotency-Key", "3f9c2a7e51d04b860123456789abcdef"),
        ("X-Request-Id", "3f9c2a7e51d04b860123456789abcdef.3"),
    ]
    assert PROPERTY_EXPIRY not in sent.properties
    [connect] = peer.connects
    assert (connect.version, connect.client_id, connect.clean, connect.keep_alive) == (5, "labrelay-lab", True, 30)
    assert connect.expiry in (None, 0)
    assert (connect.user, connect.password) == (None, None)


async def test_it_says_good_bye() -> None:
    async with mqtt_peer(ACK) as peer:
        async with destination(peer.port) as out:
            await out.deliver(delivery(FHIR))
        await until(lambda: peer.goodbyes == 1)


async def test_mqtt_3_1_1_is_spoken_too() -> None:
    error, peer = await outcome(ACK, version="3.1.1", auth=Auth(basic=Basic("lab", Secret("hunter2"))))
    assert error is None
    assert peer.published[0].payload == FHIR
    [connect] = peer.connects
    assert (connect.version, connect.clean, connect.user, connect.password) == (4, True, "lab", "hunter2")


async def test_one_connection_carries_many_at_once() -> None:
    async with mqtt_peer(ACK) as peer, destination(peer.port) as out:
        await asyncio.gather(*(out.deliver(delivery(b"%d" % number, id=number)) for number in range(40)))
    assert len(peer.connects) == 1
    assert sorted(int(sent.payload) for sent in peer.acknowledged) == list(range(40))
    assert not any(sent.dup for sent in peer.published)


async def test_a_large_document_arrives_whole() -> None:
    body = bytes(range(256)) * 20_000  # 5 MB
    async with mqtt_peer(ACK) as peer, destination(peer.port) as out:
        await out.deliver(delivery(body))
    assert peer.published[0].payload == body


# -- not delivered -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", ["5", "3.1.1"])
@pytest.mark.parametrize("step", [DROP, LATE])
async def test_without_its_own_puback_nothing_is_delivered(step: Script, version: str) -> None:
    error, peer = await outcome(step, timeout=1.0, version=version)
    assert type(error) is TransientDeliveryError
    assert (error.reason, error.detail) == (ReasonCode.NO_ANSWER, "no acknowledgement within 1 s")
    assert len(peer.published) == 1


@pytest.mark.parametrize("version", ["5", "3.1.1"])
async def test_a_dropped_puback_is_sent_again_by_us_and_credited_once(version: str) -> None:
    async with mqtt_peer(DROP, ACK) as peer, destination(peer.port, timeout=0.3, version=version) as out:
        with pytest.raises(TransientDeliveryError):
            await out.deliver(delivery(FHIR))
        out._broker._config = replace(out._broker._config, timeout=60.0)  # type: ignore[type-var]  # the dataclass above
        await out.deliver(delivery(FHIR, attempt=1))
    assert len(peer.connects) == 2  # a connection that owes an acknowledgement is not used again
    assert {connect.client_id for connect in peer.connects} == {"labrelay-lab"}
    assert [sent.payload for sent in peer.published] == [FHIR, FHIR]
    assert not any(sent.dup for sent in peer.published)  # the library resends nothing on its own
    if version == "5":
        assert peer.published[0].properties[PROPERTY_USER][0] == peer.published[1].properties[PROPERTY_USER][0]


async def test_a_broken_connection_fails_what_was_under_way_and_nothing_else() -> None:
    async with mqtt_peer(ACK, DROP, CLOSE, ACK) as peer, destination(peer.port) as out:
        await out.deliver(delivery(b"1", id=1))
        ended = await asyncio.gather(
            out.deliver(delivery(b"2", id=2)), out.deliver(delivery(b"3", id=3)), return_exceptions=True
        )
        assert [type(error) for error in ended] == [TransientDeliveryError] * 2
        assert {error.reason for error in ended if isinstance(error, DeliveryError)} == {ReasonCode.NO_ANSWER}
        await out.deliver(delivery(b"2", id=2, attempt=1))
        await out.deliver(delivery(b"3", id=3, attempt=1))
    assert [sent.payload for sent in peer.acknowledged] == [b"1", b"2", b"3"]


async def test_a_broker_that_comes_back_is_found_again() -> None:
    async with mqtt_peer(ACK) as peer, destination(peer.port) as out:
        await out.deliver(delivery(b"1"))
        for writer in list(peer.open):  # the broker is restarted while nothing is under way
            writer.transport.abort()
        async with asyncio.timeout(240.0):
            while True:
                with_error = None
                try:
                    await out.deliver(delivery(b"2"))
                except TransientDeliveryError as error:
                    with_error = error
                if with_error is None:
                    break
    assert len(peer.connects) == 2


async def test_nobody_listens_is_not_delivered() -> None:
    error, _ = await outcome(0x10)
    assert type(error) is TransientDeliveryError
    assert error.reason is ReasonCode.NO_SUBSCRIBER


async def test_nobody_listens_is_delivered_where_the_site_says_so() -> None:
    error, peer = await outcome(0x10, no_subscriber="deliver")
    assert error is None
    assert len(peer.acknowledged) == 1


@pytest.mark.parametrize(
    ("code", "kind", "reason"),
    [
        (0x80, TransientDeliveryError, ReasonCode.BUSY),
        (0x83, TransientDeliveryError, ReasonCode.BUSY),
        (0x97, TransientDeliveryError, ReasonCode.BUSY),
        (0x87, DestinationDownError, ReasonCode.NOT_AUTHORIZED),
        (0x90, DestinationDownError, ReasonCode.WRONG_ADDRESS),
        (0x99, RefusedDeliveryError, ReasonCode.REFUSED),
    ],
)
async def test_reason_codes_of_a_puback(code: int, kind: type[DeliveryError], reason: ReasonCode) -> None:
    error, peer = await outcome(code)
    assert type(error) is kind
    assert error.reason is reason
    assert f"0x{code:02X}" in error.detail
    assert len(peer.connects) == 1


@pytest.mark.parametrize(
    ("code", "kind", "reason"),
    [
        (0x8E, DestinationDownError, ReasonCode.NO_ANSWER),
        (0x95, RefusedDeliveryError, ReasonCode.REFUSED),
        (0x8B, TransientDeliveryError, ReasonCode.NO_ANSWER),
        (0x00, TransientDeliveryError, ReasonCode.NO_ANSWER),
    ],
)
async def test_reason_codes_of_a_disconnect(code: int, kind: type[DeliveryError], reason: ReasonCode) -> None:
    error, _ = await outcome(Disconnect(code))
    assert type(error) is kind
    assert error.reason is reason


@pytest.mark.parametrize(
    ("version", "code", "kind", "reason"),
    [
        ("5", 0x86, DestinationDownError, ReasonCode.NOT_AUTHORIZED),
        ("5", 0x87, DestinationDownError, ReasonCode.NOT_AUTHORIZED),
        ("5", 0x84, DestinationDownError, ReasonCode.WRONG_ADDRESS),
        ("5", 0x88, TransientDeliveryError, ReasonCode.BUSY),
        ("3.1.1", 1, DestinationDownError, ReasonCode.WRONG_ADDRESS),
        ("3.1.1", 2, DestinationDownError, ReasonCode.NOT_AUTHORIZED),
        ("3.1.1", 3, TransientDeliveryError, ReasonCode.BUSY),
        ("3.1.1", 4, DestinationDownError, ReasonCode.NOT_AUTHORIZED),
        ("3.1.1", 5, DestinationDownError, ReasonCode.NOT_AUTHORIZED),
    ],
)
async def test_a_broker_that_does_not_accept_us(
    version: str, code: int, kind: type[DeliveryError], reason: ReasonCode
) -> None:
    error, peer = await outcome(
        ACK, version=version, broker_connack=code, auth=Auth(basic=Basic("lab", Secret("hunter2")))
    )
    assert type(error) is kind
    assert error.reason is reason
    assert "hunter2" not in str(error)
    assert peer.published == []


async def test_a_document_that_the_broker_says_is_too_large_is_refused_before_it_is_sent() -> None:
    limit = MAXIMUM_PACKET_SIZE + (4096).to_bytes(4, "big")
    async with mqtt_peer(ACK, connack_properties=limit) as peer, destination(peer.port) as out:
        with pytest.raises(RefusedDeliveryError) as caught:
            await out.deliver(delivery(bytes(4096)))
        await out.deliver(delivery(bytes(3000)))
    assert caught.value.detail == "the broker takes 4096 bytes at most"
    assert len(peer.published) == 1
    assert len(peer.connects) == 1  # the others on the connection notice nothing


async def test_one_that_is_too_large_takes_nobody_with_it() -> None:
    limit = RECEIVE_MAXIMUM + (1).to_bytes(2, "big")
    async with mqtt_peer(Disconnect(0x95), connack_properties=limit) as peer, destination(peer.port) as out:
        large, other = await asyncio.gather(
            out.deliver(delivery(FHIR)), out.deliver(delivery(FHIR, id=2)), return_exceptions=True
        )
    assert type(large) is RefusedDeliveryError
    assert type(other) is TransientDeliveryError
    assert len(peer.published) == 1


GARBAGE = (
    b"HTTP/1.1 400 Bad Request\r\n\r\n",
    b"\x40\x01\x00",
    b"\x20\x02\x00",
    b"\xff" * 64,
    bytes(64),
    b"\x40\x03\x00\x01\xc3",
)


@pytest.mark.parametrize("version", ["5", "3.1.1"])
@pytest.mark.parametrize("garbage", GARBAGE)
async def test_garbage_is_no_acknowledgement(garbage: bytes, version: str, caplog: pytest.LogCaptureFixture) -> None:
    error, peer = await outcome(garbage, timeout=0.3, version=version)
    assert type(error) in (TransientDeliveryError, DestinationDownError)
    assert peer.acknowledged == []
    error, peer = await outcome(ACK, broker_connack=garbage, timeout=0.3, version=version)
    assert type(error) in (TransientDeliveryError, DestinationDownError)
    assert peer.published == []
    gc.collect()
    assert "never retrieved" not in caplog.text


async def test_no_more_are_under_way_than_the_broker_takes() -> None:
    limit = RECEIVE_MAXIMUM + (2).to_bytes(2, "big")
    async with mqtt_peer(DROP, connack_properties=limit) as peer, destination(peer.port, timeout=2.0) as out:
        ended = await asyncio.gather(
            *(out.deliver(delivery(FHIR, id=number)) for number in range(6)), return_exceptions=True
        )
    assert {type(error) for error in ended} == {TransientDeliveryError}
    assert len(peer.published) == 2


async def test_a_broker_that_is_not_there(unused_tcp_port: int) -> None:
    async with destination(unused_tcp_port) as out:
        with pytest.raises(TransientDeliveryError) as caught:
            await out.deliver(delivery(FHIR))
    assert type(caught.value) is TransientDeliveryError
    assert (caught.value.reason, caught.value.detail) == (ReasonCode.NO_ANSWER, "connection failed: connection refused")


async def test_a_broker_that_says_nothing_is_given_up_in_time() -> None:
    error, peer = await outcome(ACK, broker_silent=True, timeout=0.3)
    assert type(error) is TransientDeliveryError
    assert error.reason is ReasonCode.NO_ANSWER
    assert len(peer.connects) == 1


async def test_a_secret_that_is_not_set_is_told_by_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    from engine.config.reading.secrets import Secret as ByName

    monkeypatch.delenv("LR_MQTT_PASSWORD", raising=False)
    auth = Auth(basic=Basic("lab", ByName("LR_MQTT_PASSWORD")))  # type: ignore[arg-type]  # as in production
    error, peer = await outcome(ACK, auth=auth)
    assert isinstance(error, DestinationDownError)
    assert error.reason is ReasonCode.NOT_AUTHORIZED
    assert "${LR_MQTT_PASSWORD} is not set" in error.detail
    assert peer.connects == []


async def test_a_cancelled_delivery_costs_the_connection() -> None:
    async with mqtt_peer(DROP, ACK) as peer, destination(peer.port) as out:
        task = asyncio.create_task(out.deliver(delivery(FHIR)))
        await peer.came.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await out.deliver(delivery(FHIR))
    assert len(peer.connects) == 2


async def test_closing_while_it_connects_leaves_nothing_behind(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    async with mqtt_peer(ACK, silent=True) as peer, destination(peer.port, timeout=0.5) as out:
        task = asyncio.create_task(out.deliver(delivery(FHIR)))
        await until(lambda: len(peer.connects) == 1)
        await out.close()
        with pytest.raises(DeliveryError):
            await task
        await until(lambda: not peer.open)
    gc.collect()
    assert "never retrieved" not in caplog.text


# -- the probe ---------------------------------------------------------------------------------------------------


async def test_a_probe_connects_beside_the_daemon_and_sends_nothing() -> None:
    async with mqtt_peer(ACK) as peer, destination(peer.port) as out:
        await out.deliver(delivery(FHIR))
        await out.probe()
        await out.deliver(delivery(FHIR))
    assert [connect.client_id for connect in peer.connects] == ["labrelay-lab", "labrelay-lab-check"]
    assert len(peer.published) == 2


async def test_a_failed_probe_says_why() -> None:
    async with mqtt_peer(ACK, connack=0x86) as peer, destination(peer.port) as out:
        with pytest.raises(DestinationDownError) as caught:
            await out.probe()
    assert caught.value.reason is ReasonCode.NOT_AUTHORIZED
    assert caught.value.detail == (
        "the broker answered the connection with 0x86; check auth, client_id and the rights to the topic"
    )


# -- TLS ---------------------------------------------------------------------------------------------------------


async def test_tls_with_a_client_certificate(tmp_path: Path) -> None:
    ours = Authority(tmp_path)
    pair = ours.sign("labrelay")
    context = ours.server_context(demand_client=True)
    async with (
        mqtt_peer(ACK, tls=context) as peer,
        destination(peer.port, tls=Tls(ca=ours.ca, cert=pair.cert, key=pair.key)) as out,
    ):
        for _ in range(3):
            await out.deliver(delivery(bytes(100_000)))
    assert [connect.certificate for connect in peer.connects] == [True]
    assert len(peer.acknowledged) == 3


@pytest.mark.parametrize("trusted", ["system", "other"])
async def test_a_broker_that_we_do_not_trust_gets_nothing(tmp_path: Path, trusted: str) -> None:
    ours = Authority(tmp_path / "ours")
    tls = Tls(ca=Authority(tmp_path / "other").ca) if trusted == "other" else Tls()
    error, peer = await outcome(
        ACK, broker_tls=ours.server_context(), tls=tls, auth=Auth(basic=Basic("lab", Secret("hunter2")))
    )
    assert isinstance(error, DestinationDownError)
    assert error.reason is ReasonCode.NO_ANSWER
    assert error.detail.startswith("the broker's certificate is not trusted: ")
    assert peer.connects == []


# -- configuration -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("message_type", "topic"),
    [
        ("ORU^R01", "lab/chemistry/ORU-R01"),
        ("", "lab/chemistry/unknown"),
        ("#/+", "lab/chemistry/---"),
    ],
)
def test_a_topic_holds_names_and_the_type_only(message_type: str, topic: str) -> None:
    assert topic_of("lab/{channel}/{message_type}", delivery(FHIR, message_type=message_type)) == topic
