"""HL7 v2 messages to a receiver, over MLLP on TCP or TLS, each acknowledged before the next is sent.

    AA, CA of our message          delivered
    AE, CE                         NEGATIVE_ACK, transient, dead after `MAX_NEGATIVE_ACKS` in a row
    AR, CR                         REFUSED, dead, with the answer kept
    an answer to another message,
    garbage, no acknowledgement    WRONG_ACK, transient
    none in time, connection lost  NO_ANSWER, transient

An answer is credited to a message by MSA-2 only, never by when it came, so the rules are strict: one connection, one
message in flight on it, and any outcome but a matching acknowledgement closes it, since an answer that is still on its
way would meet the next message. For the same reason a control id is never used twice on one connection (analyzers
restart their counters). A receiver that sends a commit and later an application acknowledgement of one message is
understood: the first counts, the second is passed over.
"""

import asyncio
import contextlib
import socket
import ssl
from collections.abc import Iterator
from typing import Protocol

from adapters.codecs.hl7v2_ack import Ack, read_ack
from adapters.codecs.hl7v2_header import header
from adapters.codecs.mllp import END, MllpLink, MllpOptions
from adapters.destinations.settings import Address, Tls
from engine.clock import Clock
from engine.errors import ContentError, DestinationDownError, RefusedDeliveryError, TransientDeliveryError
from engine.message import Block, Delivery, LinkEvent
from engine.reasons import Reason

MAX_NEGATIVE_ACKS = 5
MAX_ANSWER_BYTES = 1024 * 1024
MAX_IDS_PER_CONNECTION = 50_000  # then a new connection, so that remembering them stays cheap
READ_BYTES = 64 * 1024
KEEP_ALIVE_IDLE_S = 30


class MllpOutConfig(Protocol):
    """What this destination reads from its YAML block."""

    @property
    def connect(self) -> Address: ...
    @property
    def tls(self) -> Tls | None: ...
    @property
    def timeout(self) -> float: ...


class _Connection:
    """An open connection and what was sent on it."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer
        self.link = MllpLink(MllpOptions(max_message=MAX_ANSWER_BYTES))
        self.ids: set[str] = set()
        self.committed = ""  # the control id that a commit acknowledgement has settled: more may follow

    @property
    def usable(self) -> bool:
        return not (self.reader.at_eof() or self.writer.is_closing() or len(self.ids) >= MAX_IDS_PER_CONNECTION)


class MllpOut:
    """See `engine.ports.Destination`.

    Args:
        timeout_s: for one attempt: connecting, sending and the acknowledgement together.
        ssl_context: for TLS; None for plain TCP.
    """

    def __init__(
        self, name: str, host: str, port: int, *, timeout_s: float = 30.0, ssl_context: ssl.SSLContext | None = None
    ) -> None:
        self._name = name
        self._host = host
        self._port = port
        self._timeout_s = timeout_s
        self._ssl = ssl_context
        self._connection: _Connection | None = None
        self._turn = asyncio.Lock()

    async def start(self) -> None:
        """Nothing to open: the first delivery connects."""

    async def deliver(self, delivery: Delivery) -> None:
        body = delivery.body
        head = header(body)
        if head.problem:
            raise RefusedDeliveryError(Reason.REFUSED, f"this is no HL7 v2 message that can be sent: {head.problem}")
        if END in body:
            raise RefusedDeliveryError(Reason.REFUSED, "the message holds the bytes that end an MLLP block")
        control_id = head.control_id
        async with self._turn:
            with self._closing_on_failure():
                async with self._deadline():
                    connection = await self._connected(control_id)
                    answer, ack = await self._exchange(connection, body, control_id)
            if ack.code in ("AA", "CA"):
                connection.committed = control_id if ack.code == "CA" else ""
                return
            if ack.code in ("AE", "CE"):
                raise TransientDeliveryError(
                    Reason.NEGATIVE_ACK, f"answered {ack.code}", limit=MAX_NEGATIVE_ACKS, answer=answer
                )
            raise RefusedDeliveryError(Reason.REFUSED, f"answered {ack.code}", answer=answer)

    async def probe(self) -> None:
        """Connect, with the TLS handshake, and send nothing; a connection that is open already shows enough."""
        async with self._turn:
            if self._connection is None or not self._connection.usable:
                with self._closing_on_failure():
                    async with self._deadline():
                        await self._connected("")

    async def close(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.writer.close()
            with contextlib.suppress(OSError, TimeoutError):
                async with asyncio.timeout(1.0):
                    await connection.writer.wait_closed()

    # -- one attempt -------------------------------------------------------------------------------------------

    async def _exchange(self, connection: _Connection, body: bytes, control_id: str) -> tuple[bytes, Ack]:
        """Send one message and wait for its acknowledgement.

        Raises:
            TransientDeliveryError: WRONG_ACK, NO_ANSWER.
        """
        connection.ids.add(control_id)
        connection.writer.write(connection.link.wrap(body))
        await connection.writer.drain()
        while True:
            for event in await self._events(connection):
                if not isinstance(event, Block):
                    # No frame at all, or a torn one: whatever this peer says cannot be told from an answer.
                    raise TransientDeliveryError(Reason.WRONG_ACK, "the answer is not an MLLP block")
                try:
                    ack = read_ack(event.payload)
                except ContentError as error:
                    raise TransientDeliveryError(
                        Reason.WRONG_ACK, f"the answer is no acknowledgement: {error.detail}", answer=event.payload
                    ) from None
                if ack.control_id == control_id:
                    return event.payload, ack
                if ack.code[0] == "A" and ack.control_id and ack.control_id == connection.committed:
                    connection.committed = ""
                    continue
                raise TransientDeliveryError(
                    Reason.WRONG_ACK, "the answer names another message in MSA-2", answer=event.payload
                )

    async def _events(self, connection: _Connection) -> list[LinkEvent]:
        """What the next bytes complete, or the timer of a block that ends without its last byte."""
        loop = asyncio.get_running_loop()
        due = connection.link.deadline()
        try:
            async with asyncio.timeout_at(due):
                data = await connection.reader.read(READ_BYTES)
        except TimeoutError:
            if due is None or loop.time() < due:
                raise  # it is the deadline of the attempt
            return connection.link.tick(loop.time())
        if data:
            return connection.link.receive(data, loop.time())
        events = [event for event in connection.link.closed() if isinstance(event, Block)]
        if events:
            return list(events)
        raise TransientDeliveryError(Reason.NO_ANSWER, "the receiver closed the connection without an answer")

    # -- the connection ----------------------------------------------------------------------------------------

    async def _connected(self, control_id: str) -> _Connection:
        """The open connection, or a new one where it is gone or has carried this control id already."""
        connection = self._connection
        if connection is not None and connection.usable and control_id not in connection.ids:
            return connection
        self._drop()
        reader, writer = await asyncio.open_connection(self._host, self._port, ssl=self._ssl)
        _keep_alive(writer)
        self._connection = _Connection(reader, writer)
        return self._connection

    def _deadline(self) -> asyncio.Timeout:
        return asyncio.timeout(self._timeout_s)

    @contextlib.contextmanager
    def _closing_on_failure(self) -> Iterator[None]:
        """Close the connection whatever goes wrong, a cancelled task included, and give the failure its meaning."""
        try:
            yield
        except TimeoutError as error:
            self._drop()
            seconds = f"{self._timeout_s:g} s"
            raise TransientDeliveryError(Reason.NO_ANSWER, f"no acknowledgement within {seconds}") from error
        except ssl.SSLCertVerificationError as error:
            self._drop()
            detail = f"the receiver's certificate is not trusted: {error.verify_message}"
            raise DestinationDownError(Reason.NO_ANSWER, detail) from error
        except OSError as error:
            self._drop()
            detail = error.strerror or type(error).__name__
            raise TransientDeliveryError(Reason.NO_ANSWER, f"connection failed: {detail}") from error
        except BaseException:
            self._drop()
            raise

    def _drop(self) -> None:
        """Forget the connection at once: an answer that is still on its way must not be read."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.writer.transport.abort()


def build(name: str, config: MllpOutConfig, clock: Clock) -> MllpOut:
    """The destination ``name`` of a site.

    Raises:
        ConfigError: a certificate or key file cannot be used.
    """
    context = None
    if config.tls is not None:
        from adapters.destinations.http_exchange import tls_context  # brings aiohttp along

        context = tls_context(name, config.tls)
    return MllpOut(name, config.connect.host, config.connect.port, timeout_s=config.timeout, ssl_context=context)


def _keep_alive(writer: asyncio.StreamWriter) -> None:
    """Notice a receiver that vanished without a word, also between two messages."""
    sock: socket.socket = writer.get_extra_info("socket")
    with contextlib.suppress(OSError, AttributeError):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, KEEP_ALIVE_IDLE_S)
