"""A broker of Kafka for tests, from the text of its protocol and not from any library: one topic, one partition.

It takes records as a test scripts it. ``fault`` is what the next records get until `Peer.go_on`: an int, the error with
this code; `CUT`, half an answer and the end of the connection; `STALL`, half an answer; `SILENCE`. Only the versions
below are offered: the client's library falls back to these.
"""

import asyncio
import contextlib
import ssl
import struct
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from enum import Enum

from tests.support.serving import serving

PRODUCE, METADATA, COORDINATOR, VERSIONS, INIT, CONFIGS = 0, 3, 10, 18, 22, 32
OFFERED = {PRODUCE: 3, 1: 4, 2: 1, METADATA: 1, COORDINATOR: 0, VERSIONS: 0, INIT: 0, CONFIGS: 1}


class Fault(Enum):
    CUT = "half an answer, and the end"
    STALL = "half an answer"
    SILENCE = "none"


CUT, STALL, SILENCE = Fault


@dataclass(frozen=True)
class Record:
    key: str
    value: bytes
    headers: dict[str, str]


@dataclass
class Peer:
    """``came`` are all records, each once: the library repeats one under its number. ``kept``: those acknowledged."""

    topic: str = "lab.results"
    fault: Fault | int | None = None
    settings: dict[str, str] = field(default_factory=dict)
    replicas: int = 1
    port: int = 0
    came: dict[tuple[int, int, int], Record] = field(default_factory=dict)
    kept: list[Record] = field(default_factory=list)
    producers: int = 0
    acks: set[int] = field(default_factory=set)
    unknown: bool = False  # it has no such topic

    def go_on(self) -> None:
        self.fault = None

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError, ssl.SSLError, asyncio.CancelledError):
            while True:
                size = int.from_bytes(await reader.readexactly(4), "big")
                body = _Reader(await reader.readexactly(size))
                kind, version, number = body.number(2), body.number(2), body.number(4)
                body.text()  # the client's id
                if kind == VERSIONS:
                    said = _versions(35 if version > 0 else 0)
                else:
                    assert version == OFFERED[kind], f"version {version} of request {kind} was not offered"
                    said = self._answer(kind, body)
                answer = struct.pack(">ii", len(said) + 4, number) + said
                if kind == PRODUCE and isinstance(self.fault, Fault):
                    writer.write(b"" if self.fault is SILENCE else answer[:-1])
                    await writer.drain()
                    if self.fault is CUT:
                        return
                else:
                    writer.write(answer)
                    await writer.drain()

    def _answer(self, kind: int, body: "_Reader") -> bytes:
        if kind == METADATA:
            return self._metadata()
        if kind == INIT:
            self.producers += 1
            return struct.pack(">ihqh", 0, 0, self.producers, 0)
        if kind == CONFIGS:
            return self._configs()
        assert kind == PRODUCE, f"a producer sends no request {kind}"
        return self._produce(body)

    def _metadata(self) -> bytes:
        nodes = range(1, self.replicas + 1)
        brokers = b"".join(
            struct.pack(">i", one) + _text("127.0.0.1") + struct.pack(">ih", self.port, -1) for one in nodes
        )
        copies = struct.pack(f">i{self.replicas}i", self.replicas, *nodes)
        partitions = struct.pack(">ihii", 1, 0, 0, 1) + copies * 2
        topic = struct.pack(">h", 0) + _text(self.topic) + b"\0" + partitions
        if self.unknown:
            topic = struct.pack(">h", 3) + _text(self.topic) + b"\0" + struct.pack(">i", 0)
        return struct.pack(">i", self.replicas) + brokers + struct.pack(">ii", 1, 1) + topic

    def _configs(self) -> bytes:
        entries = b"".join(
            _text(name) + _text(value) + struct.pack(">bbb", 0, 1, 0) + struct.pack(">i", 0)
            for name, value in self.settings.items()
        )
        return (
            struct.pack(">iihhb", 0, 1, 0, -1, 2) + _text(self.topic) + struct.pack(">i", len(self.settings)) + entries
        )

    def _produce(self, body: "_Reader") -> bytes:
        body.text()
        self.acks.add(body.number(2))
        body.number(4)
        assert (body.number(4), body.text(), body.number(4), body.number(4)) == (1, self.topic, 1, 0)
        body.number(4)
        found = dict(_records(body))
        self.came |= found
        error = self.fault if isinstance(self.fault, int) else 0
        if self.fault is None:
            self.kept += found.values()
        return (
            struct.pack(">i", 1)
            + _text(self.topic)
            + struct.pack(">iihqq", 1, 0, error, len(self.kept), -1)
            + struct.pack(">i", 0)
        )


@asynccontextmanager
async def kafka_peer(tls: ssl.SSLContext | None = None, **settings: object) -> AsyncIterator[Peer]:
    """Serve on 127.0.0.1, on a free port if none is given."""
    peer = Peer(**settings)  # type: ignore[arg-type]  # fields of Peer by name
    async with serving(peer.serve, peer.port, tls) as peer.port:
        yield peer


# -- the protocol ------------------------------------------------------------------------------------------------------


def _text(text: str) -> bytes:
    return struct.pack(">h", len(text)) + text.encode()


def _versions(error: int) -> bytes:
    return struct.pack(">hi", error, len(OFFERED)) + b"".join(
        struct.pack(">hhh", kind, 0 if kind == VERSIONS else version, version) for kind, version in OFFERED.items()
    )


class _Reader:
    def __init__(self, body: bytes) -> None:
        self.body, self.at = body, 0

    def take(self, count: int) -> bytes:
        self.at += count
        assert self.at <= len(self.body), "a request that is shorter than it says"
        return self.body[self.at - count : self.at]

    def number(self, size: int) -> int:
        return int.from_bytes(self.take(size), "big", signed=True)

    def text(self) -> str | None:
        size = self.number(2)
        return self.take(size).decode() if size >= 0 else None

    def varint(self) -> int:
        value, shift = 0, 0
        while True:
            byte = self.take(1)[0]
            value |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return value >> 1 ^ -(value & 1)


def _records(body: _Reader) -> Iterator[tuple[tuple[int, int, int], Record]]:
    """The records of one batch of the second format, each with producer, epoch and number."""
    body.take(16)  # offset, length, epoch of the leader
    assert body.number(1) == 2
    body.take(4)
    assert body.number(2) & 7 == 0, "a short record is not compressed"
    body.take(20)
    producer, epoch, first, count = body.number(8), body.number(2), body.number(4), body.number(4)
    for number in range(first, first + count):
        body.varint()
        body.take(1)
        body.varint()
        body.varint()
        key = body.take(body.varint()).decode()
        value = body.take(body.varint())
        headers = {body.take(body.varint()).decode(): body.take(body.varint()).decode() for _ in range(body.varint())}
        yield (producer, epoch, number), Record(key, value, headers)
