"""Alerts to an MQTT broker: one message of JSON for each, with QoS 1, taken once the broker has acknowledged it.

    {"id", "site", "state", "level", "key", "count", "subject", "text", "at", "repeat"}

A message without a subscriber counts as taken: a site may listen only at times.
"""

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Protocol

from adapters.clients.mqtt import Broker, BrokerConfig
from engine.model.errors import TransientDeliveryError
from engine.model.process.clock import Clock
from engine.model.site.alerts import Notification
from engine.model.texts.reasons import ReasonCode


class Settings(BrokerConfig, Protocol):
    """As `engine.features.alerts.config.MqttSink`."""

    topic: str


class MqttSink:
    """See `engine.model.ports.AlertSink`."""

    def __init__(self, name: str, config: Settings) -> None:
        self._topic = config.topic
        self._broker = Broker(name, config)

    async def start(self) -> None:
        """Nothing to open: the first alert connects."""

    async def send(self, notification: Notification) -> Sequence[str]:
        body = json.dumps(content(notification), ensure_ascii=False).encode()
        try:
            await self._broker.publish(self._topic, body, "application/json", [("Idempotency-Key", notification.id)])
        except TransientDeliveryError as error:
            if error.reason is not ReasonCode.NO_SUBSCRIBER:
                raise
        return ()

    async def probe(self) -> None:
        """Connect under a client id beside our own, and send nothing."""
        await self._broker.probe()

    async def close(self) -> None:
        await self._broker.close()


def content(notification: Notification) -> dict[str, str | int | bool]:
    """The message for programs."""
    at = datetime.fromtimestamp(notification.at_us / 1e6, UTC)
    return {
        **notification.values,
        "count": notification.count,
        "at": at.isoformat(timespec="milliseconds"),
        "repeat": notification.repeat,
    }


def build(name: str, config: Settings, clock: Clock) -> MqttSink:
    """The sink ``name`` of a site.

    Raises:
        ConfigError: a certificate or key file cannot be used.
    """
    return MqttSink(name, config)
