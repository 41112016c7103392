"""HL7 v2 messages to a receiver, over MLLP on TCP or TLS, each acknowledged before the next is sent.

    AA, CA of our message          delivered, as ``ack:`` says: the first of them, AA, or CA and then AA
    AE, CE                         NEGATIVE_ACK, transient, dead after `MAX_NEGATIVE_ACKS` in a row
    AR, CR                         REFUSED, dead, with the answer kept
    an answer to another message,
    garbage, no acknowledgement    WRONG_ACK, transient
    none in time, connection lost  NO_ANSWER, transient

An answer is matched to a message by MSA-2 only, never by its time. So the rules are strict: one connection, one message
in flight on it, and any outcome but a matching acknowledgement closes it, since a late answer would be taken for the
next message's. For the same reason a control id is never used twice on one connection (analyzers restart their
counters).

A receiver in enhanced mode (HL7 v2.5, 2.9.3) sends a commit and later an application acknowledgement, and some
receivers do so unasked. A setting decides which of them counts. A refusal of a message that counts as delivered is
reported to the caller (`late`), by MSA-2, on any connection of this destination; so answers are also read while nothing
is sent. The last `MAX_SENT` delivered messages are remembered while the process runs.

Find out how a receiver of HL7 v2 acknowledges: a query without a patient, and advice on `ack:`. Pure.

    NMQ^N01   application management query (HL7 v2.5, 14.3.1), as training (MSH-11 is T), without MSH-15 and MSH-16

A receiver that does not know the query refuses it, in the mode in which it answers messages. Its codes show that mode:
C. in a commit acknowledgement, A. in that of the application (HL7 v2.5, 2.9.3; table 0008).
"""

import asyncio
import contextlib
import logging
import secrets
import socket
import ssl
from collections import OrderedDict, deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Protocol

from adapters.clients.http.log_in import Address, Tls
from adapters.clients.tls import tls_context
from adapters.codecs.hl7v2.acknowledgement import Ack, read_ack
from adapters.codecs.hl7v2.header import header
from adapters.codecs.hl7v2.mllp import END, MllpLink, MllpOptions
from engine.model.errors import ContentError, DestinationDownError, RefusedDeliveryError, TransientDeliveryError
from engine.model.link_events import Block, LinkEvent
from engine.model.message import Delivery, LateRefusal
from engine.model.process.clock import Clock
from engine.model.texts.reasons import ReasonCode

logger = logging.getLogger("labrelay.delivery")

MAX_NEGATIVE_ACKS = 5
MAX_ANSWER_BYTES = 1024 * 1024
MAX_IDS_PER_CONNECTION = 50_000  # then a new connection, so that remembering them stays cheap
MAX_SENT = 50_000  # delivered messages for which a late refusal is recognised
FIRST_ANSWER_S = 4.0  # of a probe's query ...
SECOND_ANSWER_S = 2.0  # ... and so long for an application acknowledgement after the commit
READ_BYTES = 64 * 1024
KEEP_ALIVE_IDLE_S = 30


class MllpOutConfig(Protocol):
    """The settings of this destination, from its YAML block.

    Attributes:
        timeout: seconds for one attempt: connecting, sending and the acknowledgement together.
        ack: the answer that counts: ``commit``, ``application`` or ``both``.
    """

    connect: Address
    tls: Tls | None
    timeout: float
    ack: str


@dataclass(slots=True)
class _Sent:
    """A message that counts as delivered.

    Attributes:
        final: an application acknowledgement has accepted it: no further answer is due.
    """

    delivery_id: int
    channel: str
    final: bool


class _Connection:
    """An open connection and what was sent on it."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer
        self.link = MllpLink(MllpOptions(max_message=MAX_ANSWER_BYTES))
        self.ids: set[str] = set()
        self.unread: deque[LinkEvent] = deque()  # that came with what was read last

    @property
    def usable(self) -> bool:
        return not (self.reader.at_eof() or self.writer.is_closing() or len(self.ids) >= MAX_IDS_PER_CONNECTION)


class MllpOut:
    """See `engine.model.ports.Destination`.

    Attributes:
        late: called for what is refused after it was delivered.

    Raises:
        ConfigError: a certificate or key file cannot be used.
    """

    def __init__(self, name: str, config: MllpOutConfig) -> None:
        self._name = name
        self._config = config
        self._ssl = None if config.tls is None else tls_context(name, config.tls)
        self._connection: _Connection | None = None
        self._turn = asyncio.Lock()
        self._sent: OrderedDict[str, _Sent] = OrderedDict()
        self._listening: asyncio.Task[None] | None = None
        self.late: Callable[[LateRefusal], None] = lambda late: None

    async def start(self) -> None:
        """Nothing to open: the first delivery connects."""

    async def deliver(self, delivery: Delivery) -> None:
        body = delivery.body
        head = header(body)
        if head.problem:
            raise RefusedDeliveryError(
                ReasonCode.REFUSED, f"this is no HL7 v2 message that can be sent: {head.problem}"
            )
        if END in body:
            raise RefusedDeliveryError(ReasonCode.REFUSED, "the message holds the bytes that end an MLLP block")
        control_id = head.control_id
        async with self._turn:
            await self._stop_listening()
            with self._closing_on_failure():
                async with asyncio.timeout(self._config.timeout):
                    connection = await self._connected(control_id)
                    answer, ack = await self._exchange(connection, body, control_id)
            self._listening = asyncio.create_task(self._listen(connection))
            if ack.code in ("AA", "CA"):
                self._sent.pop(control_id, None)
                self._sent[control_id] = _Sent(delivery.id, delivery.channel, ack.code == "AA")
                if len(self._sent) > MAX_SENT:
                    self._sent.popitem(last=False)
                return
            if ack.code in ("AE", "CE"):
                raise TransientDeliveryError(
                    ReasonCode.NEGATIVE_ACK, f"answered {ack.code}", limit=MAX_NEGATIVE_ACKS, answer=answer
                )
            raise RefusedDeliveryError(ReasonCode.REFUSED, f"answered {ack.code}", answer=answer)

    async def probe(self) -> str | None:
        """Connect, with the TLS handshake, and ask how messages are acknowledged (`mllp_query`)."""
        async with self._turn:
            await self._stop_listening()
            try:
                with self._closing_on_failure():
                    async with asyncio.timeout(self._config.timeout):
                        connection = await self._connected("")
                    codes = await self._ask(connection)
            finally:
                self._drop()
        return advice(self._config.ack, codes)

    async def close(self) -> None:
        await self._stop_listening()
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
        committed = False
        while True:
            event = await self._next(connection)
            if not isinstance(event, Block):
                # No frame at all, or a torn one: with this peer, answers cannot be recognised any more.
                raise TransientDeliveryError(ReasonCode.WRONG_ACK, "the answer is not an MLLP block")
            try:
                ack = read_ack(event.payload)
            except ContentError as error:
                raise TransientDeliveryError(
                    ReasonCode.WRONG_ACK, f"the answer is no acknowledgement: {error.detail}", answer=event.payload
                ) from None
            if ack.control_id != control_id:
                if self._heed(ack, event.payload):
                    continue
                raise TransientDeliveryError(
                    ReasonCode.WRONG_ACK, "the answer names another message in MSA-2", answer=event.payload
                )
            if ack.code == "CA" and self._config.ack != "commit":
                committed = True
                continue
            if ack.code == "AA" and self._config.ack == "both" and not committed:
                raise TransientDeliveryError(
                    ReasonCode.WRONG_ACK, "answered AA without a CA before it; `ack: both` asks for both"
                )
            return event.payload, ack

    def _heed(self, ack: Ack, answer: bytes) -> bool:
        """Take in a further answer to a message that was delivered. False: it is no such answer."""
        sent = self._sent.get(ack.control_id)
        if sent is None:
            return False
        if ack.code not in ("AA", "CA"):
            del self._sent[ack.control_id]
            self.late(
                LateRefusal(sent.delivery_id, sent.channel, f"answered {ack.code} after it had accepted it", answer)
            )
            return True
        if sent.final or ack.code == "CA":
            return False  # a repeat: it could be taken for the answer to the next message
        sent.final = True
        return True

    async def _listen(self, connection: _Connection) -> None:
        """Read while nothing is sent, until the connection ends or says what cannot be understood."""
        try:
            while self._connection is connection:
                event = await self._next(connection)
                if not isinstance(event, Block) or not self._heed(read_ack(event.payload), event.payload):
                    logger.warning("an answer to no message that is known", extra={"destination": self._name})
                    self._drop()
        except ContentError:
            self._drop()
        except (TransientDeliveryError, OSError, TimeoutError):
            pass  # it has ended: the next delivery connects

    async def _stop_listening(self) -> None:
        listening, self._listening = self._listening, None
        if listening is not None:
            listening.cancel()
            await asyncio.wait({listening})

    async def _ask(self, connection: _Connection) -> list[str]:
        """The codes that a query is answered with: the first, and a second that follows soon."""
        codes: list[str] = []
        control_id = f"LR{secrets.token_hex(8)}"
        connection.writer.write(connection.link.wrap(query(control_id, datetime.now(UTC))))
        with contextlib.suppress(TimeoutError, TransientDeliveryError):
            async with asyncio.timeout(FIRST_ANSWER_S) as limit:
                await connection.writer.drain()
                while len(codes) < 2:
                    event = await self._next(connection)
                    if isinstance(event, Block):
                        with contextlib.suppress(ContentError):
                            codes.append(read_ack(event.payload).code)
                            limit.reschedule(asyncio.get_running_loop().time() + SECOND_ANSWER_S)
        return codes

    async def _next(self, connection: _Connection) -> LinkEvent:
        """The next that the receiver says."""
        while not connection.unread:
            connection.unread.extend(await self._events(connection))
        return connection.unread.popleft()

    async def _events(self, connection: _Connection) -> list[LinkEvent]:
        """The events of the next bytes, or of the timer of a block that ends without its last byte."""
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
        raise TransientDeliveryError(ReasonCode.NO_ANSWER, "the receiver closed the connection without an answer")

    # -- the connection ----------------------------------------------------------------------------------------

    async def _connected(self, control_id: str) -> _Connection:
        """The open connection, or a new one where it is gone or has carried this control id already."""
        connection = self._connection
        if connection is not None and connection.usable and control_id not in connection.ids:
            return connection
        self._drop()
        address = self._config.connect
        reader, writer = await asyncio.open_connection(address.host, address.port, ssl=self._ssl)
        _keep_alive(writer)
        self._connection = _Connection(reader, writer)
        return self._connection

    @contextlib.contextmanager
    def _closing_on_failure(self) -> Iterator[None]:
        """Close the connection after any failure or cancellation, and translate the failure to a delivery error."""
        try:
            yield
        except TimeoutError as error:
            self._drop()
            seconds = f"{self._config.timeout:g} s"
            raise TransientDeliveryError(ReasonCode.NO_ANSWER, f"no acknowledgement within {seconds}") from error
        except ssl.SSLCertVerificationError as error:
            self._drop()
            detail = f"the receiver's certificate is not trusted: {error.verify_message}"
            raise DestinationDownError(ReasonCode.NO_ANSWER, detail) from error
        except OSError as error:
            self._drop()
            detail = error.strerror or type(error).__name__
            raise TransientDeliveryError(ReasonCode.NO_ANSWER, f"connection failed: {detail}") from error
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
    return MllpOut(name, config)


def _keep_alive(writer: asyncio.StreamWriter) -> None:
    """Notice a receiver that vanished without a word, also between two messages."""
    sock: socket.socket = writer.get_extra_info("socket")
    with contextlib.suppress(OSError, AttributeError):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, KEEP_ALIVE_IDLE_S)


SILENT = "it is there, and did not answer a query (NMQ^N01): how it acknowledges is not known"


def query(control_id: str, now: datetime) -> bytes:
    """The message. ``now``: aware."""
    at = f"{now:%Y%m%d%H%M%S%z}"
    return (
        f"MSH|^~\\&|LABRELAY||||{at}||NMQ^N01|{control_id}|T|2.5\rQRD|{at}|R|I|{control_id}|||1^RD|ALL|OTH|ALL\r"
    ).encode()


def advice(ack: str, codes: Sequence[str]) -> str | None:
    """Advice for a person about a receiver that answered ``codes``, in this order; None where the setting fits.

    Raises:
        RefusedDeliveryError: with this setting nothing would ever count as delivered.
    """
    if not codes:
        return SILENT
    modes = {code[:1] for code in codes}
    said = " and then ".join(codes)
    if ack == "both" and "C" not in modes:
        raise RefusedDeliveryError(ReasonCode.WRONG_ACK, f"it answers {said}, and no CA: set `ack: application`")
    if ack == "commit" and modes == {"A", "C"}:
        return f"it answers {said}: with `ack: application` a message counts as delivered once it was processed"
    if ack != "commit" and "A" not in modes:
        return f"it answers a query with {said} alone: if it answers results so, `ack: {ack}` delivers none"
    return None
