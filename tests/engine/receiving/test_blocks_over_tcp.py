"""Blocks over TCP, on real sockets: each is answered once, in order, after it is durable."""

import asyncio
import socket
import ssl
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from adapters.transports.sockets.tcp_stream import TcpStream
from adapters.transports.tcp import TcpListener
from engine.model.errors import StoreError
from engine.model.process.receive_memory import SMALL_BYTES
from engine.receiving import admission
from engine.receiving.channel import Channel
from tests.support.certificates import Authority, ServerFiles
from tests.support.channels import END, ScriptedStore, block, channel, hl7
from tests.support.waiting import until

FULL = StoreError("the journal cannot keep this: database or disk is full")
BROKEN = StoreError("the journal failed: SQLITE_IOERR_FSYNC", fatal=True)
WITHIN_S = 240.0


class Analyzer:
    """The peer of a connection that has its first answer."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, stream: TcpStream) -> None:
        self.reader = reader
        self.writer = writer
        self.stream = stream  # the other end

    def send(self, *payloads: bytes) -> None:
        self.writer.write(b"".join(map(block, payloads)))

    async def answer(self) -> str:
        """MSA-1 and MSA-2 of the next answer."""
        answer = await asyncio.wait_for(self.reader.readuntil(END), WITHIN_S)
        return " ".join(answer.partition(b"MSA|")[2].partition(b"\r")[0].decode().split("|"))

    async def ask(self, payload: bytes) -> str:
        self.send(payload)
        return await self.answer()

    async def end(self) -> bytes:
        """The bytes before the end of the connection; a reset is an end, too."""
        try:
            return await asyncio.wait_for(self.reader.read(), WITHIN_S)
        except ConnectionResetError:
            return b""


@asynccontextmanager
async def connected(
    made: Channel, tls: ServerFiles | None = None, trusting: ssl.SSLContext | None = None
) -> AsyncIterator[tuple[Analyzer, TcpListener]]:
    streams: list[TcpStream] = []

    async def handle(stream: TcpStream) -> None:
        streams.append(stream)
        await made.handle(stream)

    listener = TcpListener("127.0.0.1", 0, handle, tls=tls)
    port = await listener.start()
    reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=trusting)
    try:
        writer.write(block(hl7("0")))
        await asyncio.wait_for(reader.readuntil(END), WITHIN_S)
        await until(lambda: streams[0]._reader is not None)  # it waits for the next bytes
        yield Analyzer(reader, writer, streams[0]), listener
    finally:
        writer.close()
        await listener.stop(WITHIN_S)


async def under_way(store: ScriptedStore, analyzer: Analyzer, *payloads: bytes) -> None:
    """Send blocks, of which the first is not durable before it is released."""
    store.manual = True
    analyzer.send(*payloads)
    await until(lambda: len(store.waiting) == 1)


async def test_messages_are_answered_in_order() -> None:
    store, processed = ScriptedStore(), list[str]()
    made = channel(store, stored=lambda stored: processed.append(stored.control_id))
    async with connected(made) as (analyzer, _):
        assert [await analyzer.ask(hl7(str(number))) for number in range(1, 6)] == [f"AA {n}" for n in range(1, 6)]
        await until(lambda: len(store.answers) == 6)
    assert processed == [message.control_id for message in store.messages] == list("012345")
    assert made.counts.messages == 6
    assert made.connections == {}


async def test_a_message_is_answered_only_after_it_is_durable(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    store = ScriptedStore()
    write = TcpStream.write

    async def logged(stream: TcpStream, data: bytes) -> None:
        store.log.append(("write", data))
        await write(stream, data)

    monkeypatch.setattr(TcpStream, "write", logged)
    made = channel(store, stored=lambda stored: store.log.append(("processed", b"")))
    async with connected(made) as (analyzer, _):
        store.log.clear()
        await under_way(store, analyzer, hl7("1"))
        assert store.log == []
        store.release()
        assert await analyzer.answer() == "AA 1"
    assert sorted(kind for kind, _ in store.log) == ["processed", "stored", "write"]
    assert store.log[0][0] == "stored"


async def test_blocks_that_come_while_one_is_under_way_wait_for_it() -> None:
    store = ScriptedStore()
    async with connected(channel(store)) as (analyzer, _):
        await under_way(store, analyzer, hl7("1"))
        analyzer.send(hl7("2"), hl7("3"))
        analyzer.send(hl7("4"))
        await until(lambda: analyzer.stream._buffered > 0)
        assert len(store.waiting) == 1
        store.manual = False
        store.release()
        assert [await analyzer.answer() for _ in range(4)] == ["AA 1", "AA 2", "AA 3", "AA 4"]
    assert [message.control_id for message in store.messages] == list("01234")


OTHERS = {
    "two blocks in one read": (block(hl7("1")) + block(hl7("2")), ["AA 1", "AA 2"]),
    "two messages in one block": (block(hl7("1") + hl7("2")), ["AA 2"]),
    "bytes before it": (b"\n" + block(hl7("1")), ["AA 1"]),
    "a large one": (block(hl7("1", "x" * SMALL_BYTES)), ["AA 1"]),
}


@pytest.mark.parametrize("name", OTHERS)
async def test_what_is_no_block_with_one_message_is_answered_too(name: str) -> None:
    sent, answers = OTHERS[name]
    async with connected(channel(ScriptedStore())) as (analyzer, _):
        analyzer.writer.write(sent)
        assert [await analyzer.answer() for _ in answers] == answers
        assert await analyzer.ask(hl7("9")) == "AA 9"


async def test_a_message_is_stored_without_the_end_of_a_batch() -> None:
    store = ScriptedStore()
    ended = hl7("1", "MSH") + b"BTS|1\r"
    async with connected(channel(store)) as (analyzer, _):
        assert [await analyzer.ask(ended), await analyzer.ask(b"\n" + ended)] == ["AA 1", "AA 1"]
    assert [message.payload for message in store.messages[1:]] == [hl7("1", "MSH")] * 2


async def test_a_channel_waits_for_a_peer_that_does_not_read() -> None:
    async with connected(channel(ScriptedStore())) as (analyzer, _):
        analyzer.stream.pause_writing()
        analyzer.send(hl7("1"))
        await until(lambda: analyzer.stream._writer is not None)  # the reader's task waits for the peer
        analyzer.stream.resume_writing()
        assert await analyzer.answer() == "AA 1"


async def test_blocks_over_tls_are_answered(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    server = authority.sign("server")
    store = ScriptedStore()
    tls = ServerFiles(server.cert, server.key, None)
    async with connected(channel(store), tls, authority.trust()) as (analyzer, _):
        assert [await analyzer.ask(hl7(str(number))) for number in range(1, 4)] == ["AA 1", "AA 2", "AA 3"]
        await under_way(store, analyzer, hl7("4"))
        analyzer.writer.close()  # TLS has no half-close: the answer has no way any more
        await until(lambda: analyzer.stream.gone)
        store.release()
        await until(lambda: len(store.messages) == 5)
    assert store.answers == [1, 2, 3, 4]


# -- the connection ends amid a block ------------------------------------------------------------------------------


async def test_a_sender_that_ends_its_half_gets_its_answer() -> None:
    store = ScriptedStore()
    async with connected(channel(store)) as (analyzer, _):
        await under_way(store, analyzer, hl7("1"))
        analyzer.writer.write_eof()
        await until(lambda: analyzer.stream.gone)
        store.release()
        assert await analyzer.answer() == "AA 1"
        assert await analyzer.end() == b""
    assert store.answers == [1, 2]


async def test_a_stop_waits_for_the_answer() -> None:
    store = ScriptedStore()
    async with connected(channel(store)) as (analyzer, listener):
        await under_way(store, analyzer, hl7("1"))
        stopping = asyncio.create_task(listener.stop(WITHIN_S))
        await until(lambda: analyzer.stream.gone)
        store.release()
        assert await analyzer.answer() == "AA 1"
        assert await analyzer.end() == b""
        await stopping


async def test_a_message_whose_connection_is_lost_is_processed_and_not_answered() -> None:
    store, processed = ScriptedStore(), list[str]()
    made = channel(store, stored=lambda stored: processed.append(stored.control_id))
    async with connected(made) as (analyzer, _):
        await under_way(store, analyzer, hl7("1"))
        sock = analyzer.writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        analyzer.writer.transport.abort()
        await until(lambda: analyzer.stream.gone)
        store.release()
        await until(lambda: made.connections == {})
    assert processed == ["0", "1"]
    assert store.answers == [1]


async def test_a_message_whose_handler_is_cut_off_is_processed() -> None:
    store, processed = ScriptedStore(), list[str]()
    made = channel(store, stored=lambda stored: processed.append(stored.control_id))
    async with connected(made) as (analyzer, listener):
        await under_way(store, analyzer, hl7("1"))
        await listener.stop(0.0)
        assert made.connections == {}
        store.release()
        await until(lambda: processed == ["0", "1"])
    assert store.answers == [1]


# -- time ----------------------------------------------------------------------------------------------------------


async def test_a_connection_is_quiet_only_after_its_last_block() -> None:
    store = ScriptedStore()
    async with connected(channel(store, idle_timeout_s=2.0)) as (analyzer, _):
        await under_way(store, analyzer, hl7("1"))
        await until(lambda: analyzer.stream._timer is None)  # the time of the waiting read is over
        assert not analyzer.writer.is_closing()
        store.release()
        assert await analyzer.answer() == "AA 1"
        assert await analyzer.end() == b""


# -- what fails ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("at_once", [False, True], ids=["by the disk", "by a full queue"])
async def test_what_cannot_be_stored_is_not_answered_and_the_connection_closed(at_once: bool) -> None:
    store = ScriptedStore(faults=[None, FULL], at_once=at_once)
    made = channel(store)
    async with connected(made) as (analyzer, _):
        analyzer.send(hl7("1"))
        assert await analyzer.end() == b""
    assert made.counts.faults["not-stored"] == 1
    assert len(store.messages) == 1


@pytest.mark.parametrize("at_once", [False, True], ids=["by the disk", "by a full queue"])
async def test_with_ae_the_sender_hears_of_it_and_the_connection_stays(at_once: bool) -> None:
    store = ScriptedStore(faults=[None, FULL], at_once=at_once)
    made = channel(store, answer_store_fault=True)
    async with connected(made) as (analyzer, _):
        assert await analyzer.ask(hl7("1")) == "AE 1"
        assert made.counts.store_fault is not None
        assert await analyzer.ask(hl7("1")) == "AA 1"
        assert made.counts.store_fault is None


async def test_a_channel_with_too_much_that_is_not_mapped_refuses_until_some_of_it_is() -> None:
    waits, store = 0, ScriptedStore()
    made = channel(store, answer_store_fault=True, unjudged=lambda _: waits)
    async with connected(made) as (analyzer, _):
        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(admission, "SLOWEST_S", 0.001)
            waits = admission.BACKLOG_BYTES
            assert await analyzer.ask(hl7("1")) == "AE 1"
            waits -= 1  # slow
            assert await analyzer.ask(hl7("1")) == "AA 1"
        waits = 0
        assert await analyzer.ask(hl7("2")) == "AA 2"
    assert made.counts.faults == {"backlog": 1}
    assert len(store.messages) == 3


async def test_after_a_failed_sync_nothing_is_answered() -> None:
    store = ScriptedStore(faults=[None, BROKEN])
    async with connected(channel(store, answer_store_fault=True)) as (analyzer, _):
        analyzer.send(hl7("1"))
        assert await analyzer.end() == b""


async def test_a_fault_of_ours_in_the_answer_costs_the_connection_and_no_message(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    store, processed = ScriptedStore(), list[str]()
    made = channel(store, stored=lambda stored: processed.append(stored.control_id))

    def broken(*content: Any, **outcome: Any) -> None:
        raise ZeroDivisionError

    async with connected(made) as (analyzer, _):
        monkeypatch.setattr(made, "_answer", broken)
        analyzer.send(hl7("1"))
        assert await analyzer.end() == b""
    assert processed == ["0", "1"]
    assert store.answers == [1]
    assert "connection handler failed" in caplog.text


async def test_a_message_that_wants_no_answer_gets_none() -> None:
    store = ScriptedStore()
    async with connected(channel(store)) as (analyzer, _):
        analyzer.send(hl7("1").replace(b"|2.5\r", b"|2.5|||NE|NE\r"))
        await until(lambda: len(store.answers) == 2)
        assert await analyzer.ask(hl7("2")) == "AA 2"
