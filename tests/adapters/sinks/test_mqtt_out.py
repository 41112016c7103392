"""Alerts to an MQTT broker on loopback."""

import json
from dataclasses import dataclass

import pytest

from adapters.sinks import mqtt_out
from engine.model.errors import DestinationDownError
from engine.model.process.clock import ManualClock
from engine.model.site.alerts import SAMPLE
from engine.model.texts.units import HostPort
from tests.support.mqtt_peer import ACK, Script, mqtt_peer

NO_SUBSCRIBER, NOT_AUTHORIZED = 0x10, 0x87


@dataclass
class Settings:
    connect: HostPort
    client_id: str = "labrelay-alerts"
    topic: str = "lab/alerts"
    version: str = "5"
    auth: None = None
    tls: None = None
    timeout: float = 60.0


@pytest.mark.parametrize("answer", [ACK, NO_SUBSCRIBER])
async def test_an_alert_is_one_message_of_json(answer: Script) -> None:
    async with mqtt_peer(answer) as peer:
        sink = mqtt_out.build("bus", Settings(HostPort("127.0.0.1", peer.port)), ManualClock())
        await sink.start()
        await sink.send(SAMPLE)
        await sink.close()
    (came,) = peer.published
    assert (came.topic, came.qos, came.retain) == ("lab/alerts", 1, False)
    assert json.loads(came.payload) == {
        **SAMPLE.values, "count": 1, "at": "1970-01-01T00:00:00.000+00:00", "repeat": False,
    }  # fmt: skip


async def test_a_probe_publishes_nothing() -> None:
    async with mqtt_peer(ACK) as peer:
        sink = mqtt_out.build("bus", Settings(HostPort("127.0.0.1", peer.port)), ManualClock())
        await sink.probe()
        await sink.close()
    assert peer.published == []


async def test_a_broker_that_lets_us_not_in_is_tried_again() -> None:
    async with mqtt_peer(NOT_AUTHORIZED) as peer:
        sink = mqtt_out.build("bus", Settings(HostPort("127.0.0.1", peer.port)), ManualClock())
        with pytest.raises(DestinationDownError):
            await sink.send(SAMPLE)
        await sink.close()
