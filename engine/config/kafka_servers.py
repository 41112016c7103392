"""Brokers of Kafka and a topic there, as a destination and a source name them."""

from collections.abc import Iterator

from engine.config.destinations.destination_auth import host_in_clear
from engine.config.reading.values import Addresses, Model, Name
from engine.config.reading.yaml_nodes import KeyPath
from engine.config.tls import ConnectTls


class KafkaServers(Model):
    """Where the topic is."""

    connect: Addresses
    """Addresses of brokers, as host:port (9092; with TLS 9093). One that answers names all others."""

    topic: Name
    """Name of the topic; it must be there."""

    tls: ConnectTls | None = None
    """TLS with the brokers; an empty `{}` trusts the system's."""

    @property
    def at(self) -> str:
        """Where it is, for people and logs."""
        return f"{','.join(map(str, self.connect))}/{self.topic}"

    def shown(self) -> Iterator[tuple[KeyPath, str]]:
        """What goes to another machine without TLS."""
        there = next((host for one in self.connect if (host := host_in_clear(f"http://{one}"))), "")
        if there and self.tls is None:
            yield ("connect",), f"results go to {there} in clear; add `tls: {{}}` and the brokers' port for TLS (9093)"
