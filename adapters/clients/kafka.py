"""The Kafka client library (librdkafka, by the extra `labrelay[kafka]`): its settings, and what its errors mean.

It is imported when the first client is made, so that a site without Kafka has none of it in memory.

    MSG_SIZE_TOO_LARGE, INVALID_RECORD, RECORD_LIST_TOO_LARGE  REFUSED, dead
    authorization, log-in                    NOT_AUTHORIZED  the destination as a whole
    no such topic                            WRONG_ADDRESS   likewise
    a certificate, TLS                       NO_ANSWER       likewise
    not enough replicas, throttled           BUSY, transient
    all else: no broker, no answer in time   NO_ANSWER, transient

Words of a broker are never quoted: an error has the library's own name for it.
"""

import importlib
import logging
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

from adapters.clients.http.log_in import BasicAuth, Tls
from adapters.clients.tls import tls_context
from engine.model.errors import (
    ConfigError,
    DeliveryError,
    DestinationDownError,
    RefusedDeliveryError,
    TransientDeliveryError,
)
from engine.model.texts.reasons import ReasonCode

LARGEST_BYTES = 256 * 1024 * 1024  # ours; what a broker takes, it says itself
REFUSED = {"MSG_SIZE_TOO_LARGE", "INVALID_RECORD", "RECORD_LIST_TOO_LARGE"}
NOT_OURS = {
    *("TOPIC_AUTHORIZATION_FAILED", "CLUSTER_AUTHORIZATION_FAILED", "GROUP_AUTHORIZATION_FAILED"),
    *("SASL_AUTHENTICATION_FAILED", "_AUTHENTICATION"),
}
NO_TOPIC = {"UNKNOWN_TOPIC_OR_PART", "_UNKNOWN_TOPIC", "_UNKNOWN_PARTITION", "TOPIC_EXCEPTION"}
BUSY = {"NOT_ENOUGH_REPLICAS", "NOT_ENOUGH_REPLICAS_AFTER_APPEND", "THROTTLING_QUOTA_EXCEEDED", "_QUEUE_FULL"}
TELLING = {"_SSL", "_AUTHENTICATION", "_RESOLVE"}  # causes that a person can act on
TELLING_S = 60.0  # the library says the same again after 30 s
LASTING = {"_FATAL", *NOT_OURS, *NO_TOPIC}  # a client remembers them for minutes after they have been mended
SILENT = {"_MSG_TIMED_OUT", "_TIMED_OUT", "_TRANSPORT", "_ALL_BROKERS_DOWN", "_UNKNOWN_TOPIC"}
UNTRUSTED = ("certificate verify failed", "certificate could not be verified")

_quiet = logging.getLogger("labrelay.kafka")  # librdkafka's lines name addresses only; ours say the same once
_quiet.addHandler(logging.NullHandler())
_quiet.propagate = False


class Auth(Protocol):
    @property
    def basic(self) -> BasicAuth: ...


class Brokers(Protocol):
    """The settings of a destination or source that say where the topic is."""

    connect: tuple[Any, ...]  # of what reads host:port as a text
    topic: str
    tls: Tls | None
    auth: Auth | None
    mechanism: str


def library() -> Any:
    """The module `confluent_kafka`.

    Raises:
        ConfigError: it is not installed.
    """
    try:
        return importlib.import_module("confluent_kafka")
    except ImportError:
        raise ConfigError(
            "kind: kafka needs the extra labrelay[kafka]: pip install --require-hashes -r requirements/kafka.lock"
        ) from None


class Causes:
    """Why no broker can be reached just now: what the client says of its connections, from a thread of its own.

    Attributes:
        fatal: this client is of no use any more; the next one may be.
    """

    def __init__(self) -> None:
        self.fatal = False
        self._heard: tuple[float, Any] = (-TELLING_S, None)
        self._lock = threading.Lock()

    def hear(self, error: Any) -> None:
        self.fatal = self.fatal or error.fatal() or error.name() in LASTING
        if error.name() in TELLING:
            with self._lock:
                self._heard = (time.monotonic(), error)

    def forget(self) -> None:
        """A broker has answered."""
        with self._lock:
            self._heard = (-TELLING_S, None)

    def of(self, error: Any) -> Any:
        """The cause of an error that only says that no answer came in time; else the error itself."""
        with self._lock:
            at, cause = self._heard
        silent = error.name() in SILENT and cause is not None and time.monotonic() - at < TELLING_S
        return cause if silent else error

    @contextmanager
    def told(self, topic: str) -> Iterator[None]:
        """Raise an error of the library as what it means.

        Raises:
            DeliveryError: it. ConfigError: the library is not installed.
        """
        try:
            yield
        except library().KafkaException as fault:
            raise failure(self.of(fault.args[0]), topic) from None


def settings(name: str, brokers: Brokers, client: str, causes: Causes) -> dict[str, Any]:
    """What every client of the library is made with.

    Raises:
        ConfigError: a certificate or key file cannot be used.
    """
    found: dict[str, Any] = {
        "bootstrap.servers": ",".join(map(str, brokers.connect)),
        "client.id": client,
        "error_cb": causes.hear,
        "logger": _quiet,
        "reconnect.backoff.max.ms": 5000,
        "allow.auto.create.topics": False,
    }
    if brokers.auth is not None:
        found["security.protocol"] = "sasl_plaintext"
        found["sasl.mechanism"] = brokers.mechanism
        found["sasl.username"] = brokers.auth.basic.user
        found["sasl.password"] = brokers.auth.basic.password.reveal()
    if brokers.tls is not None:
        tls_context(name, brokers.tls)  # says which file cannot be used, and why
        found["security.protocol"] = "ssl" if brokers.auth is None else "sasl_ssl"
        files: Sequence[tuple[str, Path | None]] = (
            ("ssl.ca.location", brokers.tls.ca),
            ("ssl.certificate.location", brokers.tls.cert),
            ("ssl.key.location", brokers.tls.key),
        )
        found |= {key: str(path) for key, path in files if path is not None}
    return found


def failure(error: Any, topic: str) -> DeliveryError:
    """The meaning of an error of the library."""
    code = error.name()
    said = f"the broker answered {code}" if not code.startswith("_") else f"no broker took it ({code.strip('_')})"
    if code in REFUSED:
        return RefusedDeliveryError(ReasonCode.REFUSED, f"{said}; see max.message.bytes of the topic")
    if code in NOT_OURS:
        return DestinationDownError(
            ReasonCode.NOT_AUTHORIZED, f"{said}; check auth and tls, and the rights at topic {topic}"
        )
    if code in NO_TOPIC:
        return DestinationDownError(ReasonCode.WRONG_ADDRESS, f"there is no topic {topic}; check topic and connect")
    if code == "_SSL":
        untrusted = any(words in error.str() for words in UNTRUSTED)
        why = "the broker's certificate is not trusted" if untrusted else "TLS failed; check tls and the port"
        return DestinationDownError(ReasonCode.NO_ANSWER, why)
    if code == "_RESOLVE":
        return TransientDeliveryError(ReasonCode.NO_ANSWER, "the name of a broker is not known; check connect")
    return TransientDeliveryError(ReasonCode.BUSY if code in BUSY else ReasonCode.NO_ANSWER, said)
