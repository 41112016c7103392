"""One connection to an MQTT broker at a time, and the meaning of what the broker answers (OASIS MQTT 5.0, 2.4).

    PUBACK, success                      taken
    PUBACK 0x10, no matching subscriber  NO_SUBSCRIBER, transient: the broker has thrown the message away
    PUBACK 0x87; CONNACK 0x85-0x8C       NOT_AUTHORIZED  the destination as a whole
    0x90 topic, 0x84 version, 0x9C/0x9D  WRONG_ADDRESS   likewise
    PUBACK 0x99; larger than the broker  REFUSED, dead
    says that it takes
    0x80 and above, otherwise            BUSY, transient
    none in time, connection lost        NO_ANSWER, transient

(In MQTT 3.1.1 a PUBACK has no code, so a refused message looks like an accepted one.)

Only the PUBACK for a message's own packet id, on the connection it was sent on, confirms it: a connection is never
resumed. Each one starts clean, under the same client id, and drops all unacknowledged messages: its owner sends them
again, not the client library. A message that is not acknowledged in time closes the connection, since a broker that is
silent for so long will not answer on it. Messages are never retained (a retained result would be shown to anyone who
subscribes years later) and never expire.

aiomqtt brings Paho onto the event loop. It does not pass on reason codes of PUBACKs and properties of the CONNACK;
`_Client` takes these from its callbacks.
"""

import asyncio
import contextlib
import logging
import os
import socket
import ssl
from collections.abc import Sequence
from typing import Any, Protocol, cast

import aiomqtt
from aiomqtt.exceptions import MqttConnectError
from paho.mqtt.client import MQTT_CLEAN_START_FIRST_ONLY, MQTT_ERR_SUCCESS
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode as MqttReasonCode

from adapters.clients.http.log_in import Address, BasicAuth, Tls
from adapters.clients.tls import tls_context
from engine.model.errors import (
    ConfigError,
    DeliveryError,
    DestinationDownError,
    RefusedDeliveryError,
    TransientDeliveryError,
)
from engine.model.texts.reasons import ReasonCode

LONGEST_CONNECT_S = 10.0
KEEP_ALIVE_S = 30  # after so long a silence the connection is tested; none after twice that
MOST_UNDER_WAY = 20  # more than a destination has under way at once
OVERHEAD_BYTES = 512  # of a PUBLISH beside topic and payload: fixed header and our properties
PROBE_SUFFIX = "-check"  # a second connection under the daemon's own client id would take its session over
# Codes of MQTT 5.0, 2.4 (Paho gives those of 3.1.1 as these).
NO_MATCHING_SUBSCRIBERS = 0x10
FAILED = 0x80
PROTOCOL_ERROR = 0x82
SESSION_TAKEN_OVER = 0x8E
PACKET_TOO_LARGE = 0x95
OUR_LOG_IN = frozenset({0x85, 0x86, 0x87, 0x8A, 0x8C})
OUR_ADDRESS = frozenset({PROTOCOL_ERROR, 0x84, 0x8F, 0x90, 0x9C, 0x9D})
OUR_DOCUMENT = frozenset({0x99})
# The library logs packets in full at its debug level, with the user's name among them.
_QUIET = logging.getLogger("labrelay.delivery.packets")
_QUIET.setLevel(logging.CRITICAL)


class Auth(Protocol):
    basic: BasicAuth


class BrokerConfig(Protocol):
    """A broker, from a YAML block."""

    connect: Address
    client_id: str
    version: str
    auth: Auth | None
    tls: Tls | None
    timeout: float


class Broker:
    """A broker, with one connection to it.

    Raises:
        ConfigError: a certificate or key file cannot be used.
    """

    def __init__(self, name: str, config: BrokerConfig) -> None:
        self._name = name
        self._config = config
        self._ssl = None if config.tls is None else tls_context(name, config.tls)
        self._client: _Client | None = None
        self._connecting: asyncio.Task[_Client] | None = None

    async def publish(
        self, topic: str, payload: bytes, media_type: str, properties: Sequence[tuple[str, str]] = ()
    ) -> None:
        """Publish with QoS 1; returns once the broker has taken the message.

        Args:
            properties: by which a receiver recognises a repeat. MQTT 3.1.1 has none.

        Raises:
            DeliveryError: as above.
        """
        try:
            async with asyncio.timeout(self._config.timeout):
                client = await self._connected()
                try:
                    code = await client.publish_acknowledged(topic, payload, self._properties(media_type, properties))
                except DeliveryError:
                    raise  # of this message alone, or the connection has ended
                except BaseException:
                    self._drop(client)
                    raise
        except TimeoutError as error:
            seconds = f"{self._config.timeout:g} s"
            raise TransientDeliveryError(ReasonCode.NO_ANSWER, f"no acknowledgement within {seconds}") from error
        if code != MQTT_ERR_SUCCESS:
            raise refused_by(code)

    async def probe(self) -> None:
        """Connect under a client id beside our own, and send nothing."""
        try:
            async with asyncio.timeout(self._config.timeout):
                client = await self._open(PROBE_SUFFIX)
                await client.leave()
        except TimeoutError as error:
            raise TransientDeliveryError(
                ReasonCode.NO_ANSWER, f"no answer within {self._config.timeout:g} s"
            ) from error

    async def close(self) -> None:
        client, self._client = self._client, None
        if self._connecting is not None:  # it runs in a thread that cannot be stopped, only be waited for
            self._connecting.add_done_callback(_drop_what_comes)
            self._connecting = None
        if client is not None and client.is_usable:
            await client.leave()

    # -- the connection ----------------------------------------------------------------------------------------

    async def _connected(self) -> "_Client":
        """The open connection, or a new one; one is made at a time, and all who come meanwhile wait for it."""
        if self._client is not None and self._client.is_usable:
            return self._client
        if self._connecting is None:
            self._connecting = asyncio.create_task(self._open(), name=f"connecting of {self._name}")
            self._connecting.add_done_callback(self._opened)
        return await asyncio.shield(self._connecting)

    def _opened(self, task: "asyncio.Task[_Client]") -> None:
        if self._connecting is not task:
            return  # closed meanwhile
        self._connecting = None
        if not task.cancelled() and task.exception() is None:
            self._client = task.result()

    async def _open(self, suffix: str = "") -> "_Client":
        """A new connection, accepted by the broker.

        Raises:
            TransientDeliveryError, DestinationDownError
        """
        config = self._config
        user, password = None, None
        if config.auth is not None:
            try:
                user, password = config.auth.basic.user, config.auth.basic.password.reveal()
            except ConfigError as error:
                raise DestinationDownError(ReasonCode.NOT_AUTHORIZED, str(error)) from error
        client = _Client(
            config.connect.host,
            config.connect.port,
            username=user,
            password=password,
            identifier=config.client_id + suffix,
            protocol=aiomqtt.ProtocolVersion.V5 if config.version == "5" else aiomqtt.ProtocolVersion.V311,
            clean_session=None if config.version == "5" else True,
            clean_start=MQTT_CLEAN_START_FIRST_ONLY,  # a client connects once, so always
            timeout=config.timeout,
            keepalive=KEEP_ALIVE_S,
            max_inflight_messages=MOST_UNDER_WAY,
            ssl_context=self._ssl,
            logger=_QUIET,
        )
        await client.enter(min(config.timeout, LONGEST_CONNECT_S))
        return client

    def _drop(self, client: "_Client") -> None:
        """Forget a connection at once, and with it what was not acknowledged on it."""
        if self._client is client:
            self._client = None
        client.drop()

    def _properties(self, media_type: str, properties: Sequence[tuple[str, str]]) -> Properties | None:
        if self._config.version != "5":
            return None
        made = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]  # Paho has no types here
        made.ContentType = media_type
        made.UserProperty = list(properties)
        return made


class _Client(aiomqtt.Client):
    """One connection, from CONNECT to its end; never connects twice."""

    def __init__(self, *args: Any, ssl_context: ssl.SSLContext | None, **kwargs: Any) -> None:
        self._handshakes = _Handshakes(ssl_context) if ssl_context is not None else None
        super().__init__(*args, tls_context=cast(ssl.SSLContext, self._handshakes), **kwargs)
        self._acknowledgements: dict[int, asyncio.Future[int]] = {}
        self._fault: OSError | None = None
        self._connect_s = LONGEST_CONNECT_S
        self._ended: TransientDeliveryError | None = None
        self._said = 0  # the reason code of the broker's DISCONNECT
        self._room = asyncio.Semaphore(MOST_UNDER_WAY)  # as many as the broker takes without having acknowledged them
        self.largest_packet: int | None = None

    @property
    def is_usable(self) -> bool:
        return self._ended is None

    async def enter(self, connect_s: float) -> None:
        """Connect, with the TLS handshake, and wait for the broker to accept us.

        Args:
            connect_s: for each step of it, in a thread.

        Raises:
            TransientDeliveryError, DestinationDownError
        """
        self._connect_s = connect_s
        self._disconnected.add_done_callback(self._ended_early)
        try:
            await self.__aenter__()
        except MqttConnectError as error:
            self.drop()
            raise refused_by(_code(error.rc), "the connection") from None
        except aiomqtt.MqttError:
            self.drop()
            raise _connection_fault(self._fault) from self._fault
        except BaseException:
            self.drop()
            raise
        self._disconnected.add_done_callback(self._lost)

    async def leave(self) -> None:
        """Say good-bye in order."""
        self._end(TransientDeliveryError(ReasonCode.NO_ANSWER, "the connection was closed"))
        with contextlib.suppress(aiomqtt.MqttError):
            await self.__aexit__(None, None, None)

    def drop(self) -> None:
        """Close the connection without a DISCONNECT; pending deliveries fail."""
        self._end(
            TransientDeliveryError(ReasonCode.NO_ANSWER, "the connection was closed after a fault of another message")
        )
        self._client._sock_close()
        if self._misc_task is not None:
            self._misc_task.cancel()

    async def publish_acknowledged(self, topic: str, payload: bytes, properties: Properties | None) -> int:
        """Send one message with QoS 1; returns the reason code of its PUBACK.

        Raises:
            RefusedDeliveryError: the broker takes no packet of this size.
            TransientDeliveryError: the connection ended first.
        """
        if self.largest_packet is not None and len(payload) + len(topic) + OVERHEAD_BYTES > self.largest_packet:
            raise RefusedDeliveryError(ReasonCode.REFUSED, f"the broker takes {self.largest_packet} bytes at most")
        async with self._room:
            return await self._published(topic, payload, properties)

    async def _published(self, topic: str, payload: bytes, properties: Properties | None) -> int:
        if self._ended is not None:
            raise self._ended
        acknowledged: asyncio.Future[int] = self._loop.create_future()
        sent = self._client.publish(topic, payload, qos=1, retain=False, properties=properties)
        if sent.rc != MQTT_ERR_SUCCESS:
            self.drop()
            raise TransientDeliveryError(ReasonCode.NO_ANSWER, "the connection is lost")
        self._acknowledgements[sent.mid] = acknowledged
        try:
            return await acknowledged
        finally:
            del self._acknowledgements[sent.mid]

    # -- called by the libraries -------------------------------------------------------------------------------

    def _client_connect(self) -> None:
        """Runs in a thread. Keeps the error, since aiomqtt passes on only its text."""
        self._client.connect_timeout = self._connect_s
        try:
            super()._client_connect()
        except OSError as error:
            self._fault = error
            if self._handshakes is not None:
                self._handshakes.close_last()
            raise

    def _on_connect(self, client: Any, userdata: Any, flags: Any, reason_code: Any, properties: Any = None) -> None:
        said = vars(properties) if properties is not None else {}
        self.largest_packet = said.get("MaximumPacketSize")
        self._room = asyncio.Semaphore(said.get("ReceiveMaximum", MOST_UNDER_WAY))
        super()._on_connect(client, userdata, flags, reason_code, properties)

    def _on_publish(self, client: Any, userdata: Any, mid: int, reason_code: MqttReasonCode, properties: Any) -> None:
        acknowledged = self._acknowledgements.get(mid)
        if acknowledged is not None and not acknowledged.done():
            acknowledged.set_result(_code(reason_code))

    def _on_disconnect(self, client: Any, userdata: Any, flags: Any, reason_code: Any, properties: Any = None) -> None:
        code = _code(reason_code)
        # Paho makes up a code where the broker gave none; of those only this one is meaningful.
        self._said = code if flags.is_disconnect_packet_from_server or code == PROTOCOL_ERROR else 0
        if not self._connected.done():  # it ends before it has begun: no need to wait for what will not come
            self._connected.set_exception(MqttConnectError(self._said))
            return
        super()._on_disconnect(client, userdata, flags, reason_code, properties)

    def _ended_early(self, disconnected: "asyncio.Future[None]") -> None:
        """Paho choked on what came in the place of a CONNACK; no need to wait for one."""
        if not disconnected.cancelled():
            disconnected.exception()  # has been seen
        if not self._connected.done():
            self._connected.set_exception(MqttConnectError(0))

    def _lost(self, disconnected: "asyncio.Future[None]") -> None:
        if not disconnected.cancelled():
            disconnected.exception()  # has been seen
        if self._said == PACKET_TOO_LARGE and len(self._acknowledgements) == 1:
            [acknowledged] = self._acknowledgements.values()  # the only one that can be meant
            if not acknowledged.done():
                why = RefusedDeliveryError(ReasonCode.REFUSED, "the broker takes no packet of this size")
                acknowledged.set_exception(why)
        self._end(_disconnection(self._said))

    def _end(self, why: TransientDeliveryError) -> None:
        if self._ended is not None:
            return
        self._ended = why
        for acknowledged in self._acknowledgements.values():
            if not acknowledged.done():
                acknowledged.set_exception(why)


class _Handshakes:
    """An SSL context for Paho, which leaves connections open whose TLS handshake has failed."""

    def __init__(self, context: ssl.SSLContext) -> None:
        self.check_hostname = context.check_hostname
        self._context = context
        self._last: ssl.SSLSocket | None = None

    def wrap_socket(self, sock: socket.socket, **options: Any) -> ssl.SSLSocket:
        self._last = self._context.wrap_socket(sock, **options)
        return self._last

    def close_last(self) -> None:
        if self._last is not None:
            self._last.close()


def refused_by(code: int, what: str = "the message") -> DeliveryError:
    """The error for a reason code of a CONNACK or PUBACK."""
    answered = f"the broker answered {what} with 0x{code:02X}"
    if code == NO_MATCHING_SUBSCRIBERS:
        return TransientDeliveryError(ReasonCode.NO_SUBSCRIBER, "the topic has no subscriber")
    if code in OUR_LOG_IN:
        return DestinationDownError(
            ReasonCode.NOT_AUTHORIZED, f"{answered}; check auth, client_id and the rights to the topic"
        )
    if code in OUR_ADDRESS:
        return DestinationDownError(ReasonCode.WRONG_ADDRESS, f"{answered}; check connect, version and topic")
    if code < FAILED:
        return TransientDeliveryError(ReasonCode.NO_ANSWER, f"the broker ended {what} before it answered")
    if code in OUR_DOCUMENT:
        return RefusedDeliveryError(ReasonCode.REFUSED, answered)
    return TransientDeliveryError(ReasonCode.BUSY, answered)


def _disconnection(code: int) -> TransientDeliveryError:
    """Why the broker ended the connection, for all who had or wanted it."""
    if code == SESSION_TAKEN_OVER:
        return DestinationDownError(
            ReasonCode.NO_ANSWER, "another client has taken our client_id over; give each client its own"
        )
    answered = f" with 0x{code:02X}" if code >= FAILED else ""
    return TransientDeliveryError(ReasonCode.NO_ANSWER, f"the broker ended the connection{answered}")


def _connection_fault(fault: OSError | None) -> TransientDeliveryError:
    """Why there is no connection; in the operating system's words, or OpenSSL's."""
    if fault is None:
        return TransientDeliveryError(ReasonCode.NO_ANSWER, "the broker did not accept the connection in time")
    if isinstance(fault, ssl.SSLCertVerificationError):
        return DestinationDownError(
            ReasonCode.NO_ANSWER, f"the broker's certificate is not trusted: {fault.verify_message}"
        )
    if isinstance(fault, ssl.SSLError):
        reason = (fault.reason or "unknown reason").replace("_", " ").lower()
        return DestinationDownError(ReasonCode.NO_ANSWER, f"TLS failed: {reason}")
    words = os.strerror(fault.errno).lower() if fault.errno and fault.errno > 0 else type(fault).__name__
    return TransientDeliveryError(ReasonCode.NO_ANSWER, f"connection failed: {words}")


def _code(said: Any) -> int:
    """The number of a reason code, whichever of the library's kinds it is."""
    value = getattr(said, "value", said)
    return value if isinstance(value, int) else 0


def _drop_what_comes(task: "asyncio.Task[_Client]") -> None:
    """Discard a connection that is no longer awaited."""
    if not task.cancelled() and task.exception() is None:
        task.result().drop()
