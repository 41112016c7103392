"""A broker for tests, from the text of MQTT 3.1.1 and 5.0 and not from any library: it takes messages and answers
them as a test scripts it.

A script is a list of steps, one a PUBLISH (the last one repeats): `ACK`, an int (a PUBACK with this reason code),
`DROP` (no PUBACK, the connection stays), `CLOSE`, ``Disconnect(code)``, bytes (just these), or `LATE` (a PUBACK for a
packet id that nobody sent, then none).
"""

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from enum import Enum

from tests.support.serving import serving


class Step(Enum):
    ACK = "acknowledge"
    DROP = "say nothing"
    CLOSE = "close the connection"
    LATE = "acknowledge another packet id"


@dataclass(frozen=True)
class Disconnect:
    """DISCONNECT of MQTT 5 with this reason code."""

    code: int


ACK, DROP, CLOSE, LATE = Step.ACK, Step.DROP, Step.CLOSE, Step.LATE
Script = Step | int | Disconnect | bytes


@dataclass(frozen=True)
class Connect:
    version: int
    client_id: str
    clean: bool
    keep_alive: int
    user: str | None
    password: str | None
    expiry: int | None
    certificate: bool


@dataclass(frozen=True)
class Publish:
    topic: str
    payload: bytes
    qos: int
    retain: bool
    dup: bool
    packet_id: int
    properties: dict[int, list[object]]


@dataclass
class Peer:
    """``published`` are all PUBLISH packets, repeats too; ``acknowledged`` those that were answered with success."""

    script: list[Script]
    connack: int | bytes = 0
    connack_properties: bytes = b""
    silent: bool = False
    port: int = 0
    connects: list[Connect] = field(default_factory=list)
    published: list[Publish] = field(default_factory=list)
    acknowledged: list[Publish] = field(default_factory=list)
    pings: int = 0
    goodbyes: int = 0
    came: asyncio.Event = field(default_factory=asyncio.Event)
    open: set[asyncio.StreamWriter] = field(default_factory=set)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        version = 4
        self.open.add(writer)
        try:
            while True:
                kind, body = await _packet(reader)
                if kind >> 4 == 1:
                    connect = _connect(body, certificate=bool(_peer_certificate(writer)))
                    self.connects.append(connect)
                    version = connect.version
                    if self.silent:
                        continue
                    if isinstance(self.connack, bytes):
                        writer.write(self.connack)
                        await writer.drain()
                        continue
                    more = _prefixed(self.connack_properties) if version == 5 else b""
                    writer.write(_framed(0x20, bytes((0, self.connack)) + more))
                    if self.connack:
                        return
                elif kind >> 4 == 3:
                    publish = _publish(kind, body, version)
                    self.published.append(publish)
                    self.came.set()
                    if not self._answer(writer, publish, version):
                        return
                elif kind >> 4 == 12:
                    self.pings += 1
                    writer.write(_framed(0xD0, b""))
                elif kind >> 4 == 14:
                    self.goodbyes += 1
                    return
                else:
                    raise AssertionError(f"a publisher sends no packet of type {kind >> 4}")
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            self.open.discard(writer)
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()

    def _answer(self, writer: asyncio.StreamWriter, publish: Publish, version: int) -> bool:
        """Answer as scripted; False where that ends the connection."""
        step = self.script[min(len(self.published), len(self.script)) - 1]
        packet_id = publish.packet_id.to_bytes(2, "big")
        if step is ACK or step == 0:
            self.acknowledged.append(publish)
            writer.write(_framed(0x40, packet_id))
        elif step is LATE:
            writer.write(_framed(0x40, (publish.packet_id ^ 0x1000).to_bytes(2, "big")))
        elif step is CLOSE:
            return False
        elif isinstance(step, bytes):
            writer.write(step)
        elif isinstance(step, Disconnect):
            writer.write(_framed(0xE0, bytes((step.code, 0))))
            return False
        elif isinstance(step, int):
            assert version == 5, "MQTT 3.1.1 has no reason codes"
            if step < 0x80:
                self.acknowledged.append(publish)
            writer.write(_framed(0x40, packet_id + bytes((step, 0))))
        return True


@asynccontextmanager
async def mqtt_peer(*script: Script, tls: ssl.SSLContext | None = None, **settings: object) -> AsyncIterator[Peer]:
    """Serve ``script`` on a free port of 127.0.0.1."""
    peer = Peer(list(script), **settings)  # type: ignore[arg-type]  # fields of Peer by name
    async with serving(peer.serve, tls=tls) as peer.port:
        yield peer


# -- packets (MQTT 5.0, chapters 1.5 and 2) ----------------------------------------------------------------------


async def _packet(reader: asyncio.StreamReader) -> tuple[int, bytes]:
    kind = (await reader.readexactly(1))[0]
    length, shift = 0, 0
    while True:
        byte = (await reader.readexactly(1))[0]
        length |= (byte & 0x7F) << shift
        if byte < 0x80:
            return kind, await reader.readexactly(length)
        shift += 7


def _framed(kind: int, body: bytes) -> bytes:
    return bytes((kind,)) + _prefixed(body)


def _prefixed(body: bytes) -> bytes:
    """With its length before it, as a variable byte integer."""
    length, out = len(body), bytearray()
    while True:
        length, digit = length >> 7, length & 0x7F
        out.append(digit | 0x80 if length else digit)
        if not length:
            return bytes(out) + body


class _Reader:
    def __init__(self, body: bytes) -> None:
        self.body, self.at = body, 0

    def take(self, count: int) -> bytes:
        self.at += count
        assert self.at <= len(self.body), "a packet that is shorter than it says"
        return self.body[self.at - count : self.at]

    def number(self, size: int) -> int:
        return int.from_bytes(self.take(size), "big")

    def binary(self) -> bytes:
        return self.take(self.number(2))

    def text(self) -> str:
        return self.binary().decode()

    def variable(self) -> int:
        value, shift = 0, 0
        while True:
            byte = self.number(1)
            value |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return value

    def properties(self) -> dict[int, list[object]]:
        """Properties by identifier (MQTT 5.0, 2.2.2.2), those that a publisher may send."""
        found: dict[int, list[object]] = {}
        end = self.variable() + self.at
        while self.at < end:
            identifier = self.variable()
            value: object
            if identifier in (0x02, 0x11, 0x27):
                value = self.number(4)
            elif identifier in (0x21, 0x22, 0x23):
                value = self.number(2)
            elif identifier in (0x01, 0x17, 0x19):
                value = self.number(1)
            elif identifier == 0x26:
                value = (self.text(), self.text())
            elif identifier == 0x09:
                value = self.binary()
            else:
                assert identifier in (0x03, 0x08, 0x15), f"unexpected property {identifier:#x}"
                value = self.text()
            found.setdefault(identifier, []).append(value)
        return found


def _connect(body: bytes, *, certificate: bool) -> Connect:
    reader = _Reader(body)
    assert reader.text() == "MQTT"
    version, flags, keep_alive = reader.number(1), reader.number(1), reader.number(2)
    properties = reader.properties() if version == 5 else {}
    client_id = reader.text()
    assert not flags & 0x04, "no will is wanted"
    user = reader.text() if flags & 0x80 else None
    password = reader.text() if flags & 0x40 else None
    expiry = properties.get(0x11)
    return Connect(
        version, client_id, bool(flags & 0x02), keep_alive, user, password,
        expiry[0] if expiry else None, certificate,  # type: ignore[arg-type]  # four bytes, so an int
    )  # fmt: skip


def _publish(kind: int, body: bytes, version: int) -> Publish:
    reader = _Reader(body)
    topic, qos = reader.text(), kind >> 1 & 3
    packet_id = reader.number(2) if qos else 0
    properties = reader.properties() if version == 5 else {}
    return Publish(topic, reader.body[reader.at :], qos, bool(kind & 1), bool(kind & 8), packet_id, properties)


def _peer_certificate(writer: asyncio.StreamWriter) -> object:
    tls = writer.get_extra_info("ssl_object")
    return tls.getpeercert() if tls is not None else None
