"""TCP streams, the listener and the connector, on real sockets and on both event loops that LabRelay runs on."""

import asyncio
import contextlib
import gc
import itertools
import socket
import ssl
import struct
import subprocess
import sys
import warnings
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from adapters.transports import tcp
from adapters.transports.sockets.tcp_stream import READ_HIGH_WATER, TcpStream
from adapters.transports.tcp import TcpConnector, TcpListener
from tests.support.certificates import Authority, ServerFiles
from tests.support.waiting import until

HOST = "127.0.0.1"

ONE_READ = 256 * 1024  # of the event loop, at most


async def echo(stream: TcpStream) -> None:
    while data := await stream.read():
        await stream.write(data)


@asynccontextmanager
async def listening(handler: tcp.Handler, tls: ServerFiles | None = None) -> AsyncIterator[tuple[TcpListener, int]]:
    listener = TcpListener(HOST, 0, handler, tls=tls)
    port = await listener.start()
    try:
        yield listener, port
    finally:
        await listener.stop(0.2)


@asynccontextmanager
async def connected(
    port: int, tls: ssl.SSLContext | None = None
) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    reader, writer = await asyncio.open_connection(HOST, port, ssl=tls)
    try:
        yield reader, writer
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


@pytest.mark.parametrize("turns", range(5))
async def test_a_connection_that_comes_while_the_listener_stops_is_closed_and_not_dropped(turns: int) -> None:
    """However far it is: not accepted yet, accepted and not begun with, begun."""
    listener = TcpListener(HOST, 0, echo)
    port = await listener.start()
    with warnings.catch_warnings(record=True, action="always") as told, socket.create_connection((HOST, port)) as peer:
        for _ in range(turns):
            await asyncio.sleep(0)
        await listener.stop(0.2)
        peer.settimeout(240.0)
        with contextlib.suppress(ConnectionResetError):
            assert await asyncio.to_thread(peer.recv, 1) == b""
        gc.collect()
    assert [str(one.message) for one in told] == []


# -- reading and writing -------------------------------------------------------------------------------------------


async def test_bytes_come_through_however_they_were_cut() -> None:
    sent = bytes(range(256)) * 40
    async with listening(echo) as (_, port), connected(port) as (reader, writer):
        for at in range(0, len(sent), 97):
            writer.write(sent[at : at + 97])
            await writer.drain()
        assert await reader.readexactly(len(sent)) == sent


async def test_what_was_sent_before_the_fin_is_still_answered() -> None:
    async with listening(echo) as (_, port), connected(port) as (reader, writer):
        writer.write(b"last words")
        writer.write_eof()
        assert await reader.read() == b"last words"


async def test_a_timeout_leaves_the_stream_usable() -> None:
    seen: list[bytes] = []

    async def handler(stream: TcpStream) -> None:
        with pytest.raises(TimeoutError):
            await stream.read(0.01)
        with pytest.raises(TimeoutError):
            await stream.read(-1.0)
        await stream.write(b"go")
        seen.append(await stream.read(5.0))
        seen.append(await stream.read(5.0))

    async with listening(handler) as (_, port), connected(port) as (reader, writer):
        assert await reader.readexactly(2) == b"go"
        writer.write(b"on")
        writer.write_eof()
        await until(lambda: len(seen) == 2)
    assert seen == [b"on", b""]


async def test_a_reset_is_an_error_and_not_an_end() -> None:
    failed: list[OSError] = []

    async def handler(stream: TcpStream) -> None:
        try:
            while await stream.read():
                pass
        except OSError as error:
            failed.append(error)
            raise

    async with listening(handler) as (listener, port):
        with socket.create_connection((HOST, port)) as peer:
            await until(lambda: bool(listener._open))
            peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        await until(lambda: bool(failed))


async def test_a_peer_that_sends_without_end_is_slowed_down() -> None:
    go_on = asyncio.Event()
    got = 0

    async def handler(stream: TcpStream) -> None:
        nonlocal got
        await go_on.wait()
        while data := await stream.read():
            got += len(data)

    async with listening(handler) as (listener, port):
        with socket.create_connection((HOST, port)) as peer:
            peer.setblocking(False)
            sent = await _fill(peer)
            (stream,) = listener._open
            assert stream._buffered <= READ_HIGH_WATER + ONE_READ
            go_on.set()
            peer.setblocking(True)
            peer.shutdown(socket.SHUT_WR)
            await until(lambda: got == sent)


async def _fill(peer: socket.socket) -> int:
    """Send until nothing goes through any more; how much did."""
    sent, stuck = 0, 0
    while stuck < 20:
        try:
            sent += peer.send(b"x" * 65536)
            stuck = 0
        except BlockingIOError:
            stuck += 1
            await asyncio.sleep(0.005)
    return sent


async def test_a_writer_waits_for_a_peer_that_does_not_read_until_it_is_told_to_end() -> None:
    wrote = 0
    ended = asyncio.Event()

    async def handler(stream: TcpStream) -> None:
        nonlocal wrote
        while not stream._ended:
            await stream.write(b"x" * 65536)
            wrote += 65536
        ended.set()

    async with listening(handler) as (listener, port):
        with socket.create_connection((HOST, port)):
            (stream,) = await _opened(listener, 1)
            await until(lambda: stream._writing_paused and stream._writer is not None)
            held = wrote
            await asyncio.sleep(0.02)
            assert wrote == held
            stream.end()
            async with asyncio.timeout(240.0):
                await ended.wait()


async def _opened(listener: TcpListener, count: int) -> list[TcpStream]:
    await until(lambda: len(listener._open) == count)
    return list(listener._open)


async def test_a_lost_connection_wakes_whoever_writes() -> None:
    outcome: list[str] = []

    async def handler(stream: TcpStream) -> None:
        try:
            while True:
                await stream.write(b"x" * 65536)
        except OSError as error:
            outcome.append(type(error).__name__)

    async with listening(handler) as (listener, port):
        peer = socket.create_connection((HOST, port))
        (stream,) = await _opened(listener, 1)
        await until(lambda: stream._writing_paused)
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        peer.close()
        await until(lambda: bool(outcome))


async def test_a_vanished_peer_is_found_by_the_system() -> None:
    async with listening(echo) as (listener, port), connected(port):
        (stream,) = await _opened(listener, 1)
        sock = socket.socket(fileno=socket.dup(stream._transport.get_extra_info("socket").fileno()))
        with sock:
            assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
            idle = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE)
            interval = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL)
            probes = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT)
            assert idle + interval * probes <= 90
            assert 0 < sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) <= 90_000


# -- the listener --------------------------------------------------------------------------------------------------


async def test_a_fault_in_one_handler_costs_that_connection_only(caplog: pytest.LogCaptureFixture) -> None:
    async def handler(stream: TcpStream) -> None:
        if await stream.read() == b"bad":
            raise RuntimeError("ours")
        await stream.write(b"fine")

    async with listening(handler) as (_, port):
        for _ in range(3):
            async with connected(port) as (reader, writer):
                writer.write(b"bad")
                assert await reader.read() == b""
        async with connected(port) as (reader, writer):
            writer.write(b"good")
            assert await reader.read() == b"fine"
    assert "connection handler failed" in caplog.text


async def test_stopping_ends_idle_connections_at_once_and_busy_ones_after_the_grace() -> None:
    finished: list[str] = []
    busy = asyncio.Event()

    async def handler(stream: TcpStream) -> None:
        data = await stream.read()
        if data == b"busy":
            busy.set()
            try:
                await asyncio.sleep(60.0)
            except asyncio.CancelledError:
                finished.append("cut off")
                raise
        finished.append("ended")

    async with listening(handler) as (listener, port):
        async with connected(port), connected(port) as (_, writer):
            writer.write(b"busy")
            await busy.wait()
            await _opened(listener, 2)
            stopping = asyncio.create_task(listener.stop(0.1))
            await until(lambda: finished == ["ended"])
            await stopping
            assert finished == ["ended", "cut off"]
        with pytest.raises(OSError):
            await asyncio.open_connection(HOST, port)


async def test_a_peer_that_never_stops_sending_is_stopped() -> None:
    """The end of the stream comes after what was there already, and not never."""
    read = 0

    async def handler(stream: TcpStream) -> None:
        nonlocal read
        while data := await stream.read():
            read += len(data)
            await asyncio.sleep(0.001)

    async with listening(handler) as (listener, port), connected(port) as (_, writer):

        async def flood() -> None:
            with contextlib.suppress(OSError):
                while True:
                    writer.write(b"x" * 4096)
                    await writer.drain()

        flooding = asyncio.create_task(flood())
        await until(lambda: read > 100_000)
        (stream,) = listener._open
        task = listener._open[stream]
        stream.end()
        await asyncio.wait_for(task, 240.0)
        flooding.cancel()


async def test_an_address_in_use_is_an_error_of_the_caller() -> None:
    async with listening(echo) as (_, port):
        with pytest.raises(OSError):
            await TcpListener(HOST, port, echo).start()


_FEW_FILES = """
import asyncio, resource, sys
import uvloop
from adapters.transports.tcp import TcpListener
resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
async def echo(stream):
    while data := await stream.read():
        await stream.write(data)
async def ask():
    reader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    return reader
async def run():
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: None)  # asyncio's accept tells it 99 times
    listener = TcpListener("127.0.0.1", 0, echo)
    print(await listener.start(), flush=True)
    lines = await ask()
    while await lines.readline():
        open("/dev/null").close()  # there are files left for the journal
        print(len(listener._open), listener.refused, flush=True)
{"asyncio": asyncio.run, "uvloop": uvloop.run}[sys.argv[1]](run())
"""


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_a_crowd_of_connections_leaves_files_to_the_journal_and_the_listener_recovers(loop: str) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", _FEW_FILES, loop],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        try:
            assert process.stdin is not None
            assert process.stdout is not None
            port = int(process.stdout.readline())

            def ask() -> tuple[int, int]:
                assert process.stdin is not None
                assert process.stdout is not None
                process.stdin.write("\n")
                process.stdin.flush()
                held, refused = process.stdout.readline().split()
                return int(held), int(refused)

            crowd = [socket.create_connection((HOST, port), timeout=60.0) for _ in range(100)]
            crowd[0].sendall(b"first")
            assert crowd[0].recv(5) == b"first"
            crowd[-1].settimeout(60.0)
            with contextlib.suppress(ConnectionResetError):
                assert crowd[-1].recv(1) == b""  # turned away
            held, refused = ask()
            assert 0 < held <= 32
            assert refused > 0
            for one in crowd:
                one.close()
            for _ in range(200):
                if ask()[0] == 0:
                    break
            with socket.create_connection((HOST, port), timeout=60.0) as analyzer:
                analyzer.sendall(b"real")
                assert analyzer.recv(4) == b"real"
        finally:
            process.kill()
            _, errors = process.communicate()
    assert "Traceback" not in errors


# -- TLS -----------------------------------------------------------------------------------------------------------


async def test_tls_and_a_client_certificate_of_the_right_authority(tmp_path: Path) -> None:
    authority = Authority(tmp_path / "ours")
    server, client = authority.sign("server"), authority.sign("client")
    tls = ServerFiles(server.cert, server.key, authority.ca)
    context = authority.trust()
    context.load_cert_chain(client.cert, client.key)
    async with listening(echo, tls) as (_, port), connected(port, context) as (reader, writer):
        writer.write(b"sealed")
        assert await reader.readexactly(6) == b"sealed"


async def test_without_the_right_client_certificate_nobody_gets_in(tmp_path: Path) -> None:
    authority = Authority(tmp_path / "ours")
    stranger = Authority(tmp_path / "theirs", "another authority").sign("client")
    server = authority.sign("server")
    served: list[bytes] = []

    async def handler(stream: TcpStream) -> None:
        served.append(await stream.read())

    tls = ServerFiles(server.cert, server.key, authority.ca)
    wrong = authority.trust()
    wrong.load_cert_chain(stranger.cert, stranger.key)
    async with listening(handler, tls) as (listener, port):
        for context in (wrong, authority.trust()):
            with pytest.raises(OSError):  # at once, or with TLS 1.3 at the first read
                async with connected(port, context) as (reader, writer):
                    writer.write(b"let me in")
                    if await reader.read() == b"":
                        raise ConnectionResetError
        with socket.create_connection((HOST, port), timeout=60.0) as plain:  # and nobody without TLS
            plain.sendall(b"\x0bMSH|^~\\&|\x1c\r")
            await asyncio.sleep(0)
            with contextlib.suppress(ConnectionResetError):
                await asyncio.get_running_loop().run_in_executor(None, _read_all, plain)
        await until(lambda: not listener._open)
    assert served == []


def _read_all(peer: socket.socket) -> None:
    while peer.recv(4096):
        pass


async def test_a_connection_over_tls_that_ends_is_read_to_its_end(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    pair = authority.sign("server")
    got: list[bytes] = []

    async def handler(stream: TcpStream) -> None:
        while data := await stream.read():
            got.append(data)

    async with listening(handler, ServerFiles(pair.cert, pair.key)) as (_, port):
        async with connected(port, authority.trust()) as (_, writer):
            writer.write(b"and good bye")
            await writer.drain()
        await until(lambda: b"".join(got) == b"and good bye")


async def test_a_certificate_that_cannot_be_read_is_an_error_of_the_caller(tmp_path: Path) -> None:
    (tmp_path / "no.pem").write_text("this is no certificate")
    for files in (
        ServerFiles(tmp_path / "missing.pem", tmp_path / "missing.key"),
        ServerFiles(tmp_path / "no.pem", tmp_path / "no.pem"),
    ):
        with pytest.raises(OSError):
            await TcpListener(HOST, 0, echo, tls=files).start()


# -- the connector -------------------------------------------------------------------------------------------------


@pytest.fixture
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Back-off in hundredths of a second."""
    monkeypatch.setattr("engine.model.process.back_off.FIRST_S", 0.02)
    monkeypatch.setattr("engine.model.process.back_off.MAX_S", 0.1)


@pytest.mark.usefixtures("soon")
async def test_the_connector_waits_for_an_analyzer_and_comes_back_to_it() -> None:
    got: list[bytes] = []

    async def handler(stream: TcpStream) -> None:
        while data := await stream.read():
            got.append(data)

    with socket.socket() as reserved:
        reserved.bind((HOST, 0))
        port = reserved.getsockname()[1]
    connector = TcpConnector(HOST, port, handler)
    assert await connector.start() == port
    await until(lambda: connector.attempts >= 2)  # nobody is there yet
    for word in (b"one", b"two"):
        done = asyncio.Event()

        async def analyzer(
            _: asyncio.StreamReader, writer: asyncio.StreamWriter, word: bytes = word, done: asyncio.Event = done
        ) -> None:
            writer.write(word)
            await writer.drain()
            writer.close()
            done.set()

        server = await asyncio.start_server(analyzer, HOST, port)
        await asyncio.wait_for(done.wait(), 240.0)
        server.close()
        await until(lambda word=word: word in got)
    await connector.stop(0.5)


@pytest.mark.usefixtures("soon")
async def test_a_peer_that_hangs_up_at_once_is_not_called_without_a_pause() -> None:
    calls: list[float] = []
    loop = asyncio.get_running_loop()

    async def hang_up(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        calls.append(loop.time())
        writer.close()

    server = await asyncio.start_server(hang_up, HOST, 0)
    connector = TcpConnector(HOST, server.sockets[0].getsockname()[1], echo)
    await connector.start()
    await until(lambda: len(calls) >= 5)
    await connector.stop(0.5)
    server.close()
    assert all(later - earlier >= 0.015 for earlier, later in itertools.pairwise(calls))


@pytest.mark.usefixtures("soon")
async def test_a_fault_of_ours_does_not_end_the_connector(caplog: pytest.LogCaptureFixture) -> None:
    calls = 0

    async def handler(stream: TcpStream) -> None:
        nonlocal calls
        calls += 1
        raise RuntimeError("ours")

    async with listening(echo) as (_, port):
        connector = TcpConnector(HOST, port, handler)
        await connector.start()
        await until(lambda: calls >= 2)
        await connector.stop(0.5)
    assert "connection handler failed" in caplog.text


@pytest.mark.usefixtures("soon")
async def test_stopping_the_connector_ends_its_connection() -> None:
    ended = asyncio.Event()

    async def handler(stream: TcpStream) -> None:
        while await stream.read():
            pass
        ended.set()

    async with listening(echo) as (listener, port):
        connector = TcpConnector(HOST, port, handler)
        await connector.start()
        await _opened(listener, 1)
        await connector.stop(1.0)
        assert ended.is_set()
        await until(lambda: not listener._open)
