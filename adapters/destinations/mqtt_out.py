"""An MQTT broker: each document is one message with QoS 1, delivered once the broker has acknowledged it (PUBACK).

`adapters.clients.mqtt` has the meaning of each answer. A document without a subscriber (PUBACK 0x10) waits, or is
delivered, where the site says `no_subscriber: deliver`.
"""

import re
from typing import Protocol

from adapters.clients.mqtt import Broker, BrokerConfig
from engine.model.errors import TransientDeliveryError
from engine.model.message import Delivery
from engine.model.process.clock import Clock
from engine.model.texts.reasons import ReasonCode

_OUTSIDE_TOPICS = re.compile(r"[^A-Za-z0-9._-]")


class MqttConfig(BrokerConfig, Protocol):
    """The settings of this destination, from its YAML block."""

    topic: str
    no_subscriber: str


class MqttOut:
    """See `engine.model.ports.Destination`.

    Raises:
        ConfigError: a certificate or key file cannot be used.
    """

    def __init__(self, name: str, config: MqttConfig) -> None:
        self._config = config
        self._broker = Broker(name, config)

    async def start(self) -> None:
        """Nothing to open: the first delivery connects."""

    async def deliver(self, delivery: Delivery) -> None:
        topic = topic_of(self._config.topic, delivery)
        properties = [("Idempotency-Key", delivery.key), ("X-Request-Id", delivery.request_id)]
        try:
            await self._broker.publish(topic, delivery.body, delivery.media_type, properties)
        except TransientDeliveryError as error:
            if error.reason is not ReasonCode.NO_SUBSCRIBER or self._config.no_subscriber != "deliver":
                raise

    async def probe(self) -> None:
        """Connect under a client id beside our own, and send nothing."""
        await self._broker.probe()

    async def close(self) -> None:
        await self._broker.close()


def build(name: str, config: MqttConfig, clock: Clock) -> MqttOut:
    """The destination ``name`` of a site.

    Raises:
        ConfigError: a certificate or key file cannot be used.
    """
    return MqttOut(name, config)


def topic_of(template: str, delivery: Delivery) -> str:
    """The topic of a delivery: names of the site and the type of the message, nothing from inside it."""
    fields = {"channel": delivery.channel, "destination": delivery.destination, "message_type": delivery.message_type}
    return template.format_map({name: _OUTSIDE_TOPICS.sub("-", value) or "unknown" for name, value in fields.items()})
