"""A tee on real sockets: every byte goes on, the ends see each other's ends, and no listener can hold anything up."""

import asyncio
import contextlib
import random
import socket
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest

from adapters.transports import tee
from adapters.transports.sockets.tcp_stream import TcpStream
from adapters.transports.tee import Hearing, TcpTee
from engine.model.link_events import Direction
from engine.model.ports import Stream
from engine.model.texts.units import HostPort
from tests.support.ports import quiet_ports
from tests.support.waiting import until

HOST = "127.0.0.1"
Peer = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@dataclass
class Listener:
    """Writes down what it hears, or does what a test says."""

    passed: list[tuple[Direction, bytes]] = field(default_factory=list)
    over: int = 0
    fails: bool = False
    go_on: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        self.go_on.set()

    async def handle(self, stream: Stream) -> None:
        assert isinstance(stream, Hearing)
        while (heard := await stream.hear()) is not None:
            if self.fails:
                raise RuntimeError("made to fail")
            self.passed.append(heard)
            await self.go_on.wait()
        self.over += 1

    def said(self, way: Direction) -> bytes:
        return b"".join(data for of, data in self.passed if of is way)


@dataclass
class Middleware:
    """A TCP server in the test's hands: `accepted` gives the next connection."""

    port: int = 0
    connections: "asyncio.Queue[Peer]" = field(default_factory=asyncio.Queue)

    async def accepted(self) -> Peer:
        return await asyncio.wait_for(self.connections.get(), 240.0)


@asynccontextmanager
async def middleware(port: int = 0) -> AsyncIterator[Middleware]:
    made = Middleware()
    writers: list[asyncio.StreamWriter] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.append(writer)
        made.connections.put_nowait((reader, writer))

    server = await asyncio.start_server(serve, HOST, port, limit=1 << 22)
    made.port = server.sockets[0].getsockname()[1]
    try:
        yield made
    finally:
        server.close()
        for writer in writers:
            writer.transport.abort()


@asynccontextmanager
async def teeing(
    to: int, listener: Listener, *, accepts: Direction = Direction.ANALYZER, max_connections: int = 8
) -> AsyncIterator[tuple[TcpTee, int]]:
    made = TcpTee(HostPort(HOST, 0), HostPort(HOST, to), accepts, listener.handle, max_connections)
    port = await made.start()
    try:
        yield made, port
    finally:
        await made.stop(1.0)


@asynccontextmanager
async def connected(port: int) -> AsyncIterator[Peer]:
    reader, writer = await asyncio.open_connection(HOST, port, limit=1 << 22)
    try:
        yield reader, writer
    finally:
        writer.transport.abort()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


def reset(writer: asyncio.StreamWriter) -> None:
    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


async def trickle(writer: asyncio.StreamWriter, data: bytes, rng: random.Random) -> None:
    at = 0
    while at < len(data):
        size = rng.choice([1, 2, 7, 100, 4_000, 60_000])
        writer.write(data[at : at + size])
        await writer.drain()
        at += size
        if rng.random() < 0.2:
            await asyncio.sleep(0)


@pytest.mark.parametrize("accepts", Direction)
async def test_every_byte_passes_unchanged_in_both_directions_at_once(accepts: Direction) -> None:
    rng = random.Random(7)
    up, down = rng.randbytes(700_000), rng.randbytes(400_000)
    listener = Listener()
    async with middleware() as far, teeing(far.port, listener, accepts=accepts) as (_, port), connected(port) as near:
        there = await far.accepted()
        sending = asyncio.gather(trickle(near[1], up, rng), trickle(there[1], down, rng))
        assert await there[0].readexactly(len(up)) == up
        assert await near[0].readexactly(len(down)) == down
        await sending
        await until(lambda: len(listener.said(accepts)) == len(up))
    assert listener.said(accepts) == up
    assert listener.said(accepts.other) == down


async def test_what_is_said_is_heard_before_its_answer() -> None:
    listener = Listener()
    async with middleware() as far, teeing(far.port, listener) as (_, port), connected(port) as near:
        there = await far.accepted()
        for number in range(50):
            near[1].write(b"%d?" % number)
            await there[0].readuntil(b"?")
            there[1].write(b"%d!" % number)
            await near[0].readuntil(b"!")
        await until(lambda: len(listener.passed) == 100)
    assert listener.passed == [
        said for n in range(50) for said in ((Direction.ANALYZER, b"%d?" % n), (Direction.MIDDLEWARE, b"%d!" % n))
    ]


async def test_an_end_is_passed_on_and_the_other_side_may_go_on() -> None:
    listener = Listener()
    async with middleware() as far, teeing(far.port, listener) as (_, port), connected(port) as near:
        there = await far.accepted()
        near[1].write(b"last words")
        near[1].write_eof()
        assert await there[0].read() == b"last words"
        there[1].write(b"answer")
        assert await near[0].readexactly(6) == b"answer"
        there[1].close()
        assert await near[0].read() == b""
        await until(lambda: listener.over == 1)


@pytest.mark.parametrize("who", ["near", "far"])
async def test_a_connection_that_breaks_breaks_on_the_other_side_too(who: str) -> None:
    listener = Listener()
    async with middleware() as far, teeing(far.port, listener) as (_, port), connected(port) as near:
        there = await far.accepted()
        near[1].write(b"\x02half a fr")
        await there[0].readexactly(10)
        broken, other = (near, there) if who == "near" else (there, near)
        reset(broken[1])
        with pytest.raises(ConnectionResetError):
            await asyncio.wait_for(other[0].read(), 240.0)
        await until(lambda: listener.over == 1)
    assert listener.said(Direction.ANALYZER) == b"\x02half a fr"


async def test_without_the_middleware_the_analyzer_is_cut_off_and_it_is_said_until_it_is_back() -> None:
    (port_of_far,) = quiet_ports(1)
    listener = Listener()
    async with teeing(port_of_far, listener) as (made, port):
        async with connected(port) as near:
            with pytest.raises(ConnectionResetError):
                await asyncio.wait_for(near[0].read(), 240.0)
        assert made.fault.startswith(f"the middleware at {HOST}:{port_of_far} cannot be reached: ")
        async with middleware(port_of_far) as far, connected(port):
            await far.accepted()
            await until(lambda: made.fault == "")
    assert listener.over == 1


async def test_who_does_not_read_slows_the_other_down_and_costs_no_memory() -> None:
    listener = Listener()
    async with middleware() as far, teeing(far.port, listener) as (_, port), connected(port) as near:
        there = await far.accepted()
        there[0]._transport.pause_reading()  # type: ignore[attr-defined]  # the middleware hangs
        sent = 0
        while sent < 64 << 20:
            near[1].write(bytes(1 << 16))
            try:
                await asyncio.wait_for(near[1].drain(), 1.0)
            except TimeoutError:
                break
            sent += 1 << 16
        passed = len(listener.said(Direction.ANALYZER))
        assert sent < 64 << 20  # the analyzer is held up, as by a full socket
        assert passed <= sent
        there[0]._transport.resume_reading()  # type: ignore[attr-defined]
        expected = sent + (1 << 16)
        assert len(await there[0].readexactly(expected)) == expected


async def test_a_listener_that_hangs_holds_nothing_up_and_is_told_what_it_missed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(tee, "UNHEARD_AFTER_BYTES", 100_000)
    listener = Listener()
    listener.go_on.clear()
    sent = random.Random(1).randbytes(1_000_000)
    async with middleware() as far, teeing(far.port, listener) as (_, port), connected(port) as near:
        there = await far.accepted()
        near[1].write(sent)
        assert await there[0].readexactly(len(sent)) == sent
        listener.go_on.set()
        near[1].write(b"and on")
        assert await there[0].readexactly(6) == b"and on"
        await until(lambda: listener.said(Direction.ANALYZER).endswith(b"and on"))
    assert (Direction.ANALYZER, b"") in listener.passed
    assert len(listener.said(Direction.ANALYZER)) <= 200_000


async def test_a_listener_that_fails_leaves_the_line_alone(caplog: pytest.LogCaptureFixture) -> None:
    listener = Listener(fails=True)
    async with middleware() as far, teeing(far.port, listener) as (_, port), connected(port) as near:
        there = await far.accepted()
        for _ in range(3):
            near[1].write(b"ping")
            assert await there[0].readexactly(4) == b"ping"
            there[1].write(b"pong")
            assert await near[0].readexactly(4) == b"pong"
    assert "the listener of a tee failed" in caplog.text


async def test_one_connection_more_than_there_may_be_is_refused(caplog: pytest.LogCaptureFixture) -> None:
    listener = Listener()
    async with middleware() as far, teeing(far.port, listener, max_connections=1) as (made, port):
        async with connected(port) as first, connected(port) as second:
            there = await far.accepted()
            with pytest.raises(ConnectionResetError):
                await asyncio.wait_for(second[0].read(), 240.0)
            first[1].write(b"still there")
            assert await there[0].readexactly(11) == b"still there"
            there[1].close()
        assert made.refused == 1
        await until(lambda: not made._lines)
        async with connected(port):  # the first has left its place
            await far.accepted()


async def test_stopping_ends_both_sides_and_lets_the_listener_finish() -> None:
    listener = Listener()
    async with middleware() as far, teeing(far.port, listener) as (made, port), connected(port) as near:
        there = await far.accepted()
        near[1].write(b"something")
        await there[0].readexactly(9)
        await made.stop(2.0)
        assert await near[0].read() == b""
        assert await there[0].read() == b""
    assert (listener.over, listener.said(Direction.ANALYZER)) == (1, b"something")


async def test_slow_readers_are_waited_for_as_long_as_tcp_does() -> None:
    listener = Listener()
    options: list[int] = []
    async with middleware() as far, teeing(far.port, listener) as (made, port), connected(port):
        await far.accepted()
        await until(lambda: bool(made._lines))
        for line in made._lines:
            for stream in line._streams.values():
                assert isinstance(stream, TcpStream)
                sock = stream._transport.get_extra_info("socket")
                options.append(sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT))
    assert options == [0, 0]
