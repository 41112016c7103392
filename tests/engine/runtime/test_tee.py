"""A teed line in a running site: an analyzer and its middleware talk, and the journal has what they said."""

import asyncio
import contextlib
import sqlite3
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

from adapters.codecs.hl7v2 import message as hl7v2
from adapters.codecs.hl7v2.tee import MllpListener
from engine.model.errors import StoreError
from engine.model.link_events import Direction
from engine.model.message import Stored
from engine.model.ports import TeeLink
from engine.model.process.clock import SystemClock
from engine.model.texts.reasons import ReasonCode
from engine.receiving import tee as tee_module
from engine.receiving.channel_parts import ChannelSettings
from engine.receiving.tee import TeeChannel
from engine.store.queries.reader import stored_message, stored_payload
from tests.support.astm_peer import ACK, ENQ, EOT, NAK, one_record_a_frame
from tests.support.channels import END, ScriptedStore, block, hl7
from tests.support.failing_disk import FULL, FailingDisk
from tests.support.mllp_peer import MllpPeer, ack, mllp_peer
from tests.support.ports import quiet_ports
from tests.support.running import Json, RunningSite, astm_channel, hl7_channel, running_site
from tests.support.waiting import until

HOST = "127.0.0.1"
Peer = tuple[asyncio.StreamReader, asyncio.StreamWriter]


def oru(number: int) -> bytes:
    return (
        f"MSH|^~\\&|XN|LAB|LIS|LAB|20260301101530+0530||ORU^R01^ORU_R01|M{number}|P|2.5.1\r"
        f"PID|1||P{number}^^^HOSP^MR||Rao^Anil||19800101|M\r"
        f"OBR|1||S{number}|CBC^Blood count|||20260301100000\r"
        f"OBX|1|NM|WBC^Leukocytes||{number}|10*9/L|4-10|N|||F\r"
    ).encode()


def records(number: int) -> bytes:
    return (
        f"H|\\^&|||XN^1|||||||P|1394-97|20260301101530\rP|1||P{number}||Rao^Anil||19800101|M\r"
        f"O|1|S{number}||^^^WBC|R|20260301100000\rR|1|^^^WBC|{number}|10*9/L||N||F||||20260301101000\rL|1|N\r"
    ).encode()


def tee_to(port: int, kind: str = "mllp") -> Json:
    return {"kind": kind, "tee": {"listen": f"{HOST}:0", "connect": f"{HOST}:{port}"}}


@asynccontextmanager
async def connected(port: int) -> AsyncIterator[Peer]:
    reader, writer = await asyncio.open_connection(HOST, port)
    try:
        yield reader, writer
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


@asynccontextmanager
async def astm_middleware(answers: Sequence[bytes] = ()) -> AsyncIterator[tuple[int, bytearray]]:
    """Answers each transmission with the next of ``answers``, and with ACK when they are used up."""
    got = bytearray()
    script = list(answers)
    writers = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.append(writer)
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                first = await reader.readexactly(1)
                got.extend(first)
                if first == b"\x02":
                    got.extend(await reader.readuntil(b"\n"))
                if first in (b"\x02", ENQ):
                    writer.write(script.pop(0) if script else ACK)
        writer.close()

    server = await asyncio.start_server(serve, HOST, 0)
    try:
        yield server.sockets[0].getsockname()[1], got
    finally:
        server.close()
        for writer in writers:
            writer.transport.abort()


async def say_mllp(peer: Peer, message: bytes) -> bytes:
    peer[1].write(block(message))
    return await peer[0].readuntil(END)


async def say_astm(peer: Peer, message: bytes) -> bytes:
    """One session; the answers."""
    answers = b""
    for part in [ENQ, *one_record_a_frame(message)]:
        for _ in range(6):
            peer[1].write(part)
            answers += await peer[0].readexactly(1)
            if answers.endswith(ACK):
                break
    peer[1].write(EOT)
    return answers


def tee_of(site: RunningSite, name: str = "chem") -> TeeChannel:
    channel = site.app.parts.sources[name].channel
    assert isinstance(channel, TeeChannel)
    return channel


def all_ends(site: RunningSite) -> list[str]:
    return [site.end_of(view.id) for view in site.messages()]


async def test_results_that_pass_are_delivered_and_answers_are_the_middlewares(tmp_path: Path) -> None:
    async with mllp_peer(ack()) as lis, running_site(tmp_path, {"chem": hl7_channel(source=tee_to(lis.port))}) as site:
        async with connected(site.port("chem")) as analyzer:
            for number in range(1, 4):
                answer = await say_mllp(analyzer, oru(number))
                assert answer == ack("AA", f"M{number}")
        await until(lambda: len(site.messages()) == 3)
        await site.settled()
        assert lis.messages == [oru(number) for number in range(1, 4)]
        assert all_ends(site) == ["delivered"] * 3
        assert tee_of(site).tee.seen == {Direction.ANALYZER: 3}


async def test_an_astm_analyzer_and_its_middleware(tmp_path: Path) -> None:
    async with (
        astm_middleware([ACK, ACK, NAK]) as (port, got),
        running_site(tmp_path, {"chem": astm_channel(source=tee_to(port, "astm"))}) as site,
        connected(site.port("chem")) as analyzer,
    ):
        answers = await say_astm(analyzer, records(1))
        assert answers == ACK * 2 + NAK + ACK * 4
        await until(lambda: len(site.messages()) == 1)
        await site.settled()
        assert all_ends(site) == ["delivered"]
        (view,) = site.messages()
        assert view.notes == ("middleware answered NAK before ACK",)
        frames = one_record_a_frame(records(1))
        assert bytes(got) == ENQ + frames[0] + frames[1] + b"".join(frames[1:]) + EOT


async def test_orders_and_queries_are_kept_and_never_mapped(tmp_path: Path) -> None:
    order = oru(7).replace(b"ORU^R01^ORU_R01", b"ORM^O01^ORM_O01")
    query = b"MSH|^~\\&|XN|LAB|LIS|LAB|20260301101530||QBP^Q11^QBP_Q11|Q1|P|2.5.1\rQPD|Q11|1|S9\rRCP|I\r"
    lis = MllpPeer([ack()])
    writers: list[asyncio.StreamWriter] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.append(writer)
        writer.write(block(order))
        await lis.serve(reader, writer)

    server = await asyncio.start_server(serve, HOST, 0)
    port = server.sockets[0].getsockname()[1]
    channel: Json = {"source": tee_to(port), "routes": [{"mapping": "hl7-results", "to": "lab-fhir"}]}
    async with running_site(tmp_path, {"chem": channel}) as site:
        async with connected(site.port("chem")) as analyzer:
            await analyzer[0].readuntil(END)
            analyzer[1].write(ack("AA", "M7"))
            await say_mllp(analyzer, query)
            analyzer[1].write_eof()
        await until(lambda: len(site.messages()) == 2)
        await site.settled()
        assert all_ends(site) == ["OVERHEARD"] * 2
        first, second = site.messages()
        assert (first.message_type, first.notes) == ("ORM^O01", ("from the middleware",))
        assert (second.message_type, second.state) == ("QBP^Q11", "filtered")
        assert stored_message(site.journal, first.id).filtered is ReasonCode.OVERHEARD
        await until(lambda: tee_of(site).counts.messages > 0)  # counted behind the row
        assert tee_of(site).counts.messages == 1  # the order is no sign of life from the analyzer
    server.close()
    for writer in writers:
        writer.transport.abort()


async def test_what_the_middleware_refuses_is_kept_with_a_note(tmp_path: Path) -> None:
    async with (
        mllp_peer(ack("AE")) as lis,
        running_site(tmp_path, {"chem": hl7_channel(source=tee_to(lis.port))}) as site,
        connected(site.port("chem")) as analyzer,
    ):
        await say_mllp(analyzer, oru(1))
        await until(lambda: len(site.messages()) == 1)
        assert site.messages()[0].notes == ("middleware answered AE",)


async def test_an_analyzer_that_is_the_server(tmp_path: Path) -> None:
    """The middleware connects to us, and we to the analyzer; results still come from the analyzer."""
    connections: asyncio.Queue[Peer] = asyncio.Queue()

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connections.put_nowait((reader, writer))

    server = await asyncio.start_server(accept, HOST, 0)
    source = {
        "kind": "mllp",
        "tee": {
            "analyzer": {"connect": f"{HOST}:{server.sockets[0].getsockname()[1]}"},
            "middleware": {"listen": f"{HOST}:0"},
        },
    }
    async with (
        running_site(tmp_path, {"chem": hl7_channel(source=source)}) as site,
        connected(site.port("chem")) as middleware,
    ):
        analyzer = await connections.get()
        analyzer[1].write(block(oru(1)))
        await middleware[0].readuntil(END)
        middleware[1].write(ack("AA", "M1"))
        await analyzer[0].readuntil(END)
        await until(lambda: len(site.messages()) == 1)
        await site.settled()
        assert all_ends(site) == ["delivered"]
        analyzer[1].close()
    server.close()


async def test_a_message_that_is_cut_off_is_evidence(tmp_path: Path) -> None:
    async with (
        mllp_peer(ack()) as lis,
        running_site(tmp_path, {"chem": hl7_channel(source=tee_to(lis.port))}) as site,
    ):
        async with connected(site.port("chem")) as analyzer:
            analyzer[1].write(block(oru(1))[:-9])
        await until(lambda: len(site.messages()) == 1)
        assert [view.state for view in site.messages()] == ["incomplete"]
        await until(lambda: lis.closed == 1)


async def test_a_thousand_messages_pass_byte_for_byte_and_are_all_kept(tmp_path: Path) -> None:
    channel = hl7_channel(source=tee_to(0))
    async with mllp_peer(ack()) as lis:
        channel["source"] = tee_to(lis.port)
        async with running_site(tmp_path, {"chem": channel}) as site, connected(site.port("chem")) as analyzer:
            for number in range(1000):
                assert await say_mllp(analyzer, oru(number)) == ack("AA", f"M{number}")
            await until(lambda: tee_of(site).counts.messages == 1000, 240.0)
            assert lis.messages == [oru(number) for number in range(1000)]
            kept = [stored_payload(site.journal, view.id) for view in site.messages()]
            assert kept == lis.messages
            assert tee_of(site).tee.not_kept == 0


async def test_a_full_disk_holds_nothing_up_and_what_passed_is_kept_afterwards(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tee_module, "STORE_RETRY_S", 0.02)
    async with (
        mllp_peer(ack()) as lis,
        running_site(tmp_path, {"chem": hl7_channel(source=tee_to(lis.port))}) as site,
        connected(site.port("chem")) as analyzer,
    ):
        await say_mllp(analyzer, oru(1))
        await until(lambda: len(site.messages()) == 1)
        await site.settled()
        disk = FailingDisk(_connection(site), lambda file, what: FULL if what == "write" else 0)
        try:
            for number in range(2, 7):
                assert await say_mllp(analyzer, oru(number)) == ack("AA", f"M{number}")
            await until(lambda: tee_of(site).counts.faults["store-failed"] > 0)
            assert len(site.messages()) == 1
            disk.decide = lambda file, what: 0
            await until(lambda: len(site.messages()) == 6, 240.0)
            await site.settled()
        finally:
            disk.restore()
        assert [stored_payload(site.journal, view.id) for view in site.messages()] == lis.messages
        assert tee_of(site).tee.not_kept == 0
        assert all_ends(site) == ["delivered"] * 6


def _connection(site: RunningSite) -> sqlite3.Connection:
    connection = site.app.journal._connection
    assert connection is not None
    return connection


async def test_switching_keeps_the_delivery_keys(tmp_path: Path) -> None:
    """From the tee to LabRelay alone: a message that the analyzer sends again across the switch is a repeat."""
    (port,) = quiet_ports(1)
    async with mllp_peer(ack()) as lis:
        teed = tee_to(lis.port)
        teed["tee"]["listen"] = f"{HOST}:{port}"
        async with running_site(tmp_path, {"chem": hl7_channel(source=teed)}) as site:
            async with connected(port) as analyzer:
                await say_mllp(analyzer, oru(1))
                await until(lambda: len(site.messages()) == 1)
                await site.app.reload()  # nothing has changed: the line stays
                assert await say_mllp(analyzer, oru(2)) == ack("AA", "M2")
                assert await say_mllp(analyzer, oru(3)) == ack("AA", "M3")
            await site.settled()
            file = tmp_path / "channels" / "chem.yaml"
            switched = hl7_channel(source={"kind": "mllp", "listen": f"{HOST}:{port}"})
            file.write_text(yaml.safe_dump({"channel": "chem", **switched}))
            await site.app.reload()
            async with connected(port) as analyzer:
                for number in (3, 4):
                    answer = await say_mllp(analyzer, oru(number))
                    assert f"MSA|AA|M{number}".encode() in answer
                    assert answer != ack("AA", f"M{number}")  # LabRelay's own
            await site.settled()
            assert all_ends(site) == ["delivered", "delivered", "delivered", "REPEAT", "delivered"]
            assert len(lis.messages) == 3


# -- the channel alone ------------------------------------------------------------------------------------------------


class Passing:
    """A line in the test's hands (`engine.model.ports.TappedStream`)."""

    peer = "127.0.0.1:50000"

    def __init__(self) -> None:
        self._passed: asyncio.Queue[tuple[Direction, bytes] | None] = asyncio.Queue()

    def say(self, *said: tuple[Direction, bytes]) -> None:
        for one in said:
            self._passed.put_nowait(one)

    def end(self) -> None:
        self._passed.put_nowait(None)

    async def hear(self, timeout: float | None = None) -> tuple[Direction, bytes] | None:  # noqa: ASYNC109 - the contract
        return await asyncio.wait_for(self._passed.get(), timeout)

    async def read(self, timeout: float | None = None) -> bytes:  # noqa: ASYNC109 - the contract
        raise AssertionError("a tee reads nothing")

    async def write(self, data: bytes) -> None:
        raise AssertionError("a tee says nothing")

    async def close(self) -> None:
        raise AssertionError("a tee ends no line")


def channel_of(store: ScriptedStore, **more: Any) -> TeeChannel:
    return TeeChannel(
        ChannelSettings(
            name="chem",
            repeat_window_s=1.0,
            idle_timeout_s=None,
            max_connections=4,
            answer_store_fault=False,
        ),
        new_listener=more.get("new_listener", MllpListener),
        message_format=hl7v2,
        journal=store,
        stored=more.get("stored", lambda stored: None),
        clock=SystemClock(),
    )


def exchange(number: int) -> list[tuple[Direction, bytes]]:
    return [(Direction.ANALYZER, block(hl7(str(number)))), (Direction.MIDDLEWARE, ack("AA", str(number)))]


async def test_what_has_no_room_while_nothing_can_be_kept_is_counted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(tee_module, "STORE_RETRY_S", 0.01)
    monkeypatch.setattr(tee_module, "BACKLOG_MESSAGES", 3)
    store = ScriptedStore(faults=[StoreError("disk full")] * 50)
    channel, line = channel_of(store), Passing()
    task = asyncio.create_task(channel.handle(line))
    for number in range(8):
        line.say(*exchange(number))
    await until(lambda: channel.tee.seen[Direction.ANALYZER] == 8)
    assert channel.tee.not_kept == 5
    store.faults.clear()
    await until(lambda: channel.counts.messages == 3)
    line.end()
    await task
    assert channel.counts.faults["not-kept"] == 5


async def test_stopping_while_nothing_can_be_kept_counts_what_is_lost() -> None:
    store = ScriptedStore(faults=[StoreError("disk full")] * 50)
    channel, line = channel_of(store), Passing()
    task = asyncio.create_task(channel.handle(line))
    line.say(*exchange(1), *exchange(2))
    await until(lambda: channel.counts.faults["store-failed"] > 0)
    channel.stop()
    line.end()
    await asyncio.wait_for(task, 240.0)
    assert channel.tee.not_kept == 2


async def test_a_listener_that_fails_is_replaced_and_the_loss_counted(caplog: pytest.LogCaptureFixture) -> None:
    class Failing(MllpListener):
        def hear(self, way: Direction, data: bytes, now: float) -> Any:
            raise ZeroDivisionError

    made: list[TeeLink] = []

    def new_listener() -> TeeLink:
        made.append(MllpListener() if made else Failing())
        return made[-1]

    stored: list[Stored] = []
    channel, line = channel_of(ScriptedStore(), new_listener=new_listener, stored=stored.append), Passing()
    task = asyncio.create_task(channel.handle(line))
    line.say((Direction.ANALYZER, b"x"), *exchange(1))
    await until(lambda: len(stored) == 1)
    line.end()
    await task
    assert (channel.tee.not_kept, channel.counts.faults["listener-failed"]) == (1, 1)
    assert "listening failed inside LabRelay" in caplog.text


async def test_a_gap_makes_no_message_of_two_halves() -> None:
    store = ScriptedStore()
    channel, line = channel_of(store), Passing()
    task = asyncio.create_task(channel.handle(line))
    whole = block(hl7("1"))
    line.say(
        (Direction.ANALYZER, whole[:20]), (Direction.ANALYZER, b""), (Direction.ANALYZER, whole[20:]), *exchange(2)
    )
    line.end()
    await task
    assert [kind for kind, _ in store.log] == ["incomplete", "stored"]
    assert channel.counts.faults["unheard"] == 1
