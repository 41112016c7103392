"""A tee on serial lines: real pseudo-terminals, alone and with TCP at the other end."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from adapters.transports import serial
from adapters.transports.tee import SerialTee
from engine.config.sources.source_tee import TeeEnd
from engine.model.link_events import Direction
from engine.model.texts.units import HostPort
from tests.adapters.transports.test_tee_transport import HOST, Listener, connected, middleware
from tests.support.ports import quiet_ports
from tests.support.serial_peers import Cable
from tests.support.waiting import until


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serial, "REOPEN_FIRST_S", 0.02)
    monkeypatch.setattr(serial, "REOPEN_MAX_S", 0.02)
    monkeypatch.setattr("engine.model.process.back_off.FIRST_S", 0.02)
    monkeypatch.setattr("engine.model.process.back_off.MAX_S", 0.02)


@dataclass
class Tee:
    made: SerialTee
    port: int
    listener: Listener

    def together(self) -> bool:
        return self.made._hearing is not None


@asynccontextmanager
async def teeing(analyzer: TeeEnd, to: TeeEnd) -> AsyncIterator[Tee]:
    listener = Listener()
    made = SerialTee({Direction.ANALYZER: analyzer, Direction.MIDDLEWARE: to}, listener.handle)
    try:
        yield Tee(made, await made.start(), listener)
    finally:
        await made.stop(1.0)


@contextlib.contextmanager
def closing(*cables: Cable) -> Iterator[None]:
    try:
        yield
    finally:
        for cable in cables:
            cable.close()


async def test_bytes_pass_between_two_cables() -> None:
    analyzer, host = Cable(), Cable()
    with closing(analyzer, host):
        async with teeing(TeeEnd(device=analyzer.path), TeeEnd(device=host.path)) as tee:
            await until(tee.together)
            sent = bytes(range(256)) * 4
            await analyzer.send(sent)
            assert await host.receive(len(sent)) == sent
            await host.send(b"\x06")
            assert await analyzer.receive() == b"\x06"
            await until(lambda: tee.listener.said(Direction.MIDDLEWARE) == b"\x06")
            assert tee.listener.said(Direction.ANALYZER) == sent


async def test_a_cable_to_a_middleware_on_tcp_that_comes_and_goes() -> None:
    (port,) = quiet_ports(1)
    cable = Cable()
    with closing(cable):
        async with teeing(TeeEnd(device=cable.path), TeeEnd(connect=HostPort(HOST, port))) as tee:
            await until(lambda: "cannot be reached" in tee.made.fault)
            await cable.send(b"into the void\r")
            async with middleware(port) as far:
                there = await far.accepted()
                await until(tee.together)
                assert tee.made.fault == ""
                await cable.send(b"\x05")
                assert (await there[0].readexactly(1))[-1:] == b"\x05"
                there[1].write(b"\x06")
                assert await cable.receive() == b"\x06"
                there[1].close()
                there = await far.accepted()
                await until(tee.together)
                await cable.send(b"\x04")
                assert await there[0].readexactly(1) == b"\x04"
                await until(lambda: tee.listener.over == 1)
                await until(lambda: tee.listener.said(Direction.ANALYZER) == b"\x05\x04")


async def test_a_name_that_can_be_none_is_said() -> None:
    cable = Cable()
    with closing(cable):
        async with teeing(TeeEnd(device=cable.path), TeeEnd(connect=HostPort("middleware..lab", 5100))) as tee:
            await until(lambda: "this can be no host's name" in tee.made.fault)


async def test_a_pulled_cable_cuts_the_connection(tmp_path: Path) -> None:
    cable = Cable(tmp_path / "analyzer")
    with closing(cable):
        async with (
            middleware() as far,
            teeing(TeeEnd(device=cable.path), TeeEnd(connect=HostPort(HOST, far.port))) as tee,
        ):
            there = await far.accepted()
            await until(tee.together)
            cable.pull()
            with contextlib.suppress(ConnectionResetError):
                assert await asyncio.wait_for(there[0].read(), 240.0) == b""
            await until(lambda: tee.made.fault != "")
            cable.plug()
            there = await far.accepted()
            await until(tee.together)
            await cable.send(b"back")
            assert await there[0].readexactly(4) == b"back"


async def test_a_middleware_that_connects_to_us() -> None:
    cable = Cable()
    with closing(cable):
        async with teeing(TeeEnd(device=cable.path), TeeEnd(listen=HostPort(HOST, 0))) as tee:
            await until(lambda: bool(tee.made._streams))
            async with connected(tee.port) as near:
                await until(tee.together)
                await cable.send(b"result")
                assert await near[0].readexactly(6) == b"result"
                async with connected(tee.port) as second:  # one cable has one other end
                    with contextlib.suppress(ConnectionResetError):
                        assert await asyncio.wait_for(second[0].read(), 240.0) == b""
                near[1].write(b"answer")
                assert await cable.receive(6) == b"answer"
