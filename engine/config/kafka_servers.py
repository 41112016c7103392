"""Brokers of Kafka and a topic there, as a destination and a source name them."""

from collections.abc import Iterator
from typing import Literal

from engine.config.destinations.destination_auth import PasswordAuth, host_in_clear
from engine.config.reading.values import Addresses, Model, Name
from engine.config.reading.yaml_nodes import KeyPath
from engine.config.tls import ConnectTls

USE_KAFKA_TLS = "add `tls: {}` and the brokers' port for TLS (9093)"


class KafkaServers(Model):
    """Where the topic is."""

    connect: Addresses
    """Addresses of all brokers, as host:port (9092; with TLS 9093). An installed service may reach these alone."""

    topic: Name
    """Name of the topic; it must be there."""

    tls: ConnectTls | None = None
    """TLS with the brokers; an empty `{}` trusts the system's."""

    auth: PasswordAuth | None = None
    """How to log in (SASL)."""

    mechanism: Literal["SCRAM-SHA-512", "SCRAM-SHA-256", "PLAIN"] = "SCRAM-SHA-512"
    """How the brokers check user and password."""

    @property
    def at(self) -> str:
        """Where it is, for people and logs."""
        return f"{','.join(map(str, self.connect))}/{self.topic}"

    def in_clear(self) -> Iterator[tuple[KeyPath, str]]:
        """What goes to another machine without TLS."""
        if self.auth is not None and self.tls is None:
            for one in self.connect:
                yield from self.auth.in_clear(one, USE_KAFKA_TLS)
        there = next((host for one in self.connect if (host := host_in_clear(f"http://{one}"))), "")
        if there and self.tls is None:
            yield ("connect",), f"results pass in clear between here and {there}; {USE_KAFKA_TLS}"
