"""Lines at a device server: bare bytes, and RFC 2217 against pyserial's own server side."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import pytest

from adapters.transports import serial as serial_module
from adapters.transports.errors import LineError
from adapters.transports.serial import LineStream, SerialLine, build
from adapters.transports.serial_lines import serial_server
from adapters.transports.serial_lines.serial_server import ServerStream, connect
from tests.support.ports import quiet_ports
from tests.support.serial_peers import DeviceServer, Settings, StandInPort
from tests.support.waiting import until

EVERYTHING = bytes(range(256)) * 16


@pytest.fixture(params=["rfc2217", "socket"])
async def server(request: pytest.FixtureRequest) -> AsyncIterator[DeviceServer]:
    made = DeviceServer(bare=request.param == "socket")
    await made.start()
    yield made
    await made.stop()


@pytest.fixture
async def rfc2217() -> AsyncIterator[DeviceServer]:
    made = DeviceServer()
    await made.start()
    yield made
    await made.stop()


@pytest.fixture
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serial_module, "REOPEN_FIRST_S", 0.01)
    monkeypatch.setattr(serial_module, "REOPEN_SERVER_MAX_S", 0.02)
    monkeypatch.setattr(serial_module, "STABLE_S", 0.05)
    monkeypatch.setattr(serial_module, "LOOK_S", 0.02)


@asynccontextmanager
async def connected(server: DeviceServer, settings: Settings | None = None) -> AsyncIterator[ServerStream]:
    stream = await connect(server.device, settings or Settings())
    await until(lambda: server.connected)
    try:
        yield stream
    finally:
        await stream.close()


async def read(stream: ServerStream, number: int) -> bytes:
    data = b""
    while len(data) < number:
        data += await stream.read(5.0)
    return data


# -- bytes -------------------------------------------------------------------------------------------------------------


async def test_bytes_come_through_both_ways_whatever_they_are(server: DeviceServer) -> None:
    async with connected(server) as stream:
        await server.send(EVERYTHING)
        assert await read(stream, len(EVERYTHING)) == EVERYTHING
        await stream.write(EVERYTHING)
        assert await server.receive(len(EVERYTHING)) == EVERYTHING
        assert stream.peer == server.device


async def test_a_read_that_times_out_leaves_the_line_as_it_is(server: DeviceServer) -> None:
    async with connected(server) as stream:
        with pytest.raises(TimeoutError):
            await stream.read(0.01)
        await server.send(b"later")
        assert await stream.read(5.0) == b"later"


async def test_what_the_server_says_of_itself_is_no_byte_and_no_time(rfc2217: DeviceServer) -> None:
    """Notices must not put off a timer of the link."""
    async with connected(rfc2217) as stream:

        async def chatter() -> None:
            while True:
                rfc2217.tell_line_state(0)
                await asyncio.sleep(0.002)

        chattering = asyncio.create_task(chatter())
        reading = asyncio.create_task(stream.read(0.05))
        await asyncio.wait({reading}, timeout=60.0)
        chattering.cancel()
        assert reading.done()
        assert isinstance(reading.exception(), TimeoutError)


async def test_bare_lines_of_seven_bits_hear_and_speak_parity_in_bit_7(server: DeviceServer) -> None:
    async with connected(server, Settings(bytesize=7, parity="even")) as stream:
        await server.send(b"\x85\x82\xb1H|")
        assert await read(stream, 5) == b"\x05\x021H|"
        await stream.write(b"\x06\x15")
        # The server's own UART makes the parity where we have set it up.
        assert await server.receive(2) == (b"\x06\x95" if server.bare else b"\x06\x15")


# -- the line's settings -----------------------------------------------------------------------------------------------


async def test_the_server_sets_its_line_as_we_ask(rfc2217: DeviceServer) -> None:
    async with connected(rfc2217, Settings(baud=19200, bytesize=7, parity="even", stopbits=2, flow="rtscts")):
        port = rfc2217.port
        assert (port.baudrate, port.bytesize, port.parity, port.stopbits) == (19200, 7, "E", 2)
        await until(lambda: port.rtscts and port.dtr)
        assert not port.xonxoff


async def test_a_server_that_cannot_do_a_setting_is_a_fault_in_words() -> None:
    class EightBitsOnly(StandInPort):
        @property
        def bytesize(self) -> int:
            return 8

        @bytesize.setter
        def bytesize(self, value: int) -> None:
            if value not in (8, 0):
                raise ValueError(value)

    server = DeviceServer(port=EightBitsOnly())
    await server.start()
    with pytest.raises(LineError, match="the server sets bytesize to 8, not to 7"):
        await connect(server.device, Settings(bytesize=7))
    await until(lambda: not server.connected)  # the connection does not stay behind
    await server.stop()


async def test_a_raw_port_asked_for_rfc2217_is_a_fault_in_words(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serial_server, "NEGOTIATE_TIMEOUT_S", 0.05)
    server = DeviceServer(bare=True)
    await server.start()
    with pytest.raises(LineError, match=r"does not speak RFC 2217.*socket://"):
        await connect(server.device.replace("socket", "rfc2217"), Settings())
    await server.stop()


async def test_a_server_that_sends_and_never_confirms_costs_little_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serial_server, "NEGOTIATE_TIMEOUT_S", 60.0)
    server = await asyncio.start_server(_pour, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    with pytest.raises(LineError, match="sends and sends"):
        await connect(f"rfc2217://127.0.0.1:{port}", Settings())
    server.close()


async def _pour(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while True:
            writer.write(bytes(65536))
            await writer.drain()


async def test_no_server_is_a_fault_in_words() -> None:
    (port,) = quiet_ports(1)
    with pytest.raises(LineError, match="refuses the connection"):
        await connect(f"socket://127.0.0.1:{port}", Settings())
    with pytest.raises(LineError, match="name is not known"):
        await connect("rfc2217://no-such-host.invalid:4001", Settings())
    with pytest.raises(LineError, match="name is not known"):
        await connect("rfc2217://moxa..lab:4001", Settings())


async def test_a_server_that_says_stop_gets_nothing_until_it_says_go(rfc2217: DeviceServer) -> None:
    async with connected(rfc2217) as stream:
        assert rfc2217.manager is not None
        rfc2217.manager.rfc2217_send_subnegotiation(b"\x6c")
        await rfc2217.send(b"a")
        assert await stream.read(5.0) == b"a"  # and so the notice before it
        writing = asyncio.create_task(stream.write(b"\x06"))
        await rfc2217.send(b"b")
        await until(lambda: bool(stream._came))
        assert not writing.done()
        assert bytes(rfc2217._came) == b""
        rfc2217.manager.rfc2217_send_subnegotiation(b"\x6d")
        await writing
        assert await rfc2217.receive() == b"\x06"
        assert await stream.read(5.0) == b"b"  # nothing that came meanwhile is lost


# -- breaking and coming back ------------------------------------------------------------------------------------------


class Echo:
    def __init__(self) -> None:
        self.came: list[bytes] = []
        self.errors: list[str] = []

    async def __call__(self, stream: LineStream) -> None:
        self.came.append(b"")
        try:
            while data := await stream.read():
                self.came[-1] += data
                await stream.write(data)
        except OSError as error:
            self.errors.append(str(error))
            raise


@asynccontextmanager
async def line(source: Settings, handler: serial_module.Handler) -> AsyncIterator[SerialLine]:
    made = build(source, handler)
    await made.start()
    try:
        yield made
    finally:
        await made.stop(1.0)


@pytest.mark.usefixtures("soon")
async def test_a_server_that_goes_away_and_comes_back_is_connected_to_again(server: DeviceServer) -> None:
    (server.number,) = quiet_ports(1)
    await server.stop()
    echo = Echo()
    async with line(Settings(server.device), echo) as made:
        await until(lambda: "refuses the connection" in made.fault)
        await server.start()
        await until(lambda: made.fault == "" and server.connected)
        await server.send(b"one")
        assert await server.receive(3) == b"one"
        server.hang_up()
        await until(lambda: server.connections == 2 and made.fault == "")
        await server.send(b"two")
        assert await server.receive(3) == b"two"
        assert echo.came == [b"one", b"two"]
        assert "lost" in echo.errors[0] or "closed the connection" in echo.errors[0]


@pytest.mark.usefixtures("soon")
async def test_a_line_that_is_taken_says_who_may_have_it(server: DeviceServer) -> None:
    async with connected(server), line(Settings(server.device), Echo()) as made:
        await until(lambda: "another program" in made.fault or "lost" in made.fault)
    # Its first user has gone, so it is free.


@pytest.mark.usefixtures("soon")
async def test_errors_on_the_line_are_a_fault_that_clears_itself(
    rfc2217: DeviceServer, caplog: pytest.LogCaptureFixture
) -> None:
    async with line(Settings(rfc2217.device), Echo()) as made:
        await until(lambda: rfc2217.connected and made.fault == "")
        await rfc2217.send(b"\x00\xf8\x80\xff")
        await rfc2217.receive(4)
        for _ in range(8):
            rfc2217.tell_line_state(0x08)
        await until(lambda: "check baud" in made.fault)
        first = made.fault
        await rfc2217.send(b"\x00\xf8")
        for _ in range(9):
            rfc2217.tell_line_state(0x04)
        await until(lambda: "check baud" in made.fault and made.fault != first)
        assert rfc2217.connected
        await rfc2217.send(b"that was better")
        await until(lambda: made.fault == "")
    assert [record.getMessage() for record in caplog.records if record.levelname == "WARNING"] == [
        "serial line does not work"
    ]


async def test_stopping_gives_what_has_come_and_then_the_end(server: DeviceServer) -> None:
    async with connected(server) as stream:
        await server.send(b"last")
        await until(lambda: bool(stream._stream._chunks))
        stream.end()
        assert await stream.read() == b"last"
        assert await stream.read() == b""


async def test_stopping_while_a_server_does_not_answer_is_quick() -> None:
    server = DeviceServer(bare=True)
    await server.start()
    made = build(Settings(server.device.replace("socket", "rfc2217")), Echo())
    await made.start()
    await until(lambda: server.connected)
    await asyncio.wait_for(made.stop(), 240.0)
    await server.stop()
